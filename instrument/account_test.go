package instrument

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestForms(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check func(string) bool
		value string
		want  bool
	}{
		{"BIK", BIK, "044525971", true},
		{"BIK short", BIK, "04452597", false},
		{"BIK long", BIK, "0445259710", false},
		{"BIK letter", BIK, "04452597O", false},
		{"BIK empty", BIK, "", false},
		{"account", AccountNumber, "40817810500000012345", true},
		{"account short", AccountNumber, "4081781050000001234", false},
		{"account long", AccountNumber, "408178105000000123450", false},
		{"account masked", AccountNumber, "40817810*00000012345", false},
		{"account grouped", AccountNumber, "40817 810 5 00000012", false},
		{"KPP", KPP, "770001001", true},
		{"KPP short", KPP, "77000100", false},
		{"bank", BankID, "100000000197", true},
		{"bank short", BankID, "10000000019", false},
		{"bank with its prefix", BankID, "bank100000000197", false},
		{"wallet", WalletNumber, "4100110000131", true},
		{"wallet of 11", WalletNumber, "41001100001", true},
		{"wallet of 20", WalletNumber, strings.Repeat("4", 20), true},
		{"wallet of 10", WalletNumber, "4100110000", false},
		{"wallet of 21", WalletNumber, strings.Repeat("4", 21), false},
		{"phone", Phone, "79990001310", true},
		{"phone of the FPS tests", Phone, "0070009210197", true},
		{"phone of 10", Phone, "9990001310", true},
		{"phone of 15", Phone, strings.Repeat("7", 15), true},
		{"phone with plus", Phone, "+79990001310", false},
		{"phone of 9", Phone, "999000131", false},
		{"phone of 16", Phone, strings.Repeat("7", 16), false},
		{"phone with dashes", Phone, "7-999-000-13-10", false},
		{"prefix of a person", AllowedPrefix, "40817810500000012345", true},
		{"prefix of a deposit", AllowedPrefix, "42307810500000012345", true},
		{"prefix of a sole proprietor", AllowedPrefix, "40802810500000012345", true},
		{"prefix of a company", AllowedPrefix, "40702810900000000131", true},
		{"prefix of a non-resident", AllowedPrefix, "40820810500000012345", true},
		{"prefix in dollars", AllowedPrefix, "40817840500000012345", false},
		{"prefix of a bank", AllowedPrefix, "30101810800000000746", false},
		{"prefix for escrow only", AllowedPrefix, "40701810500000012345", false},
		{"prefix without account", AllowedPrefix, "40817810", false},
		{"prefix of nothing", AllowedPrefix, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.check(tt.value); got != tt.want {
				t.Errorf("%q: %t", tt.value, got)
			}
		})
	}
}

// The first two rows are the examples of the order itself.
func TestAccountKey(t *testing.T) {
	for _, tt := range []struct {
		name, bik, account string
		want               bool
	}{
		{"client of a bank", "049805746", "40602810700000000025", true},
		{"account at a settlement office", "049805000", "30101810800000000746", true},
		{"client of a bank, textbook", "044514512", "40702810900000000025", true},
		{"settlement office ending in 001", "049805001", "30101810800000000746", true},
		{"settlement office ending in 002", "049805002", "30101810800000000746", true},
		{"bank ending in 003 is no office", "049805003", "30101810800000000746", false},
		{"key wrong", "049805746", "40602810600000000025", false},
		{"number wrong", "049805746", "40602810700000000026", false},
		{"other bank", "049805747", "40602810700000000025", false},
		{"other region, same bank digits", "044525746", "40602810700000000025", true},
		{"account short", "049805746", "4060281070000000002", false},
		{"BIK short", "04980574", "40602810700000000025", false},
		{"letters", "04980574X", "40602810700000000025", false},
		{"nothing", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := AccountKey(tt.bik, tt.account); got != tt.want {
				t.Error(got)
			}
		})
	}
}

// Whatever the bank and the account, exactly one key digit fits.
func TestAccountKeyIsUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bik := rapid.StringMatching(`04[0-9]{7}`).Draw(t, "bik")
		account := rapid.StringMatching(`[0-9]{20}`).Draw(t, "account")
		fits := 0
		for key := '0'; key <= '9'; key++ {
			if AccountKey(bik, account[:8]+string(key)+account[9:]) {
				fits++
			}
		}
		if fits != 1 {
			t.Fatalf("%d keys fit %s %s", fits, bik, account)
		}
	})
}

func TestINN(t *testing.T) {
	for _, tt := range []struct {
		name, inn string
		want      bool
	}{
		{"Sberbank", "7707083893", true},
		{"Yandex", "7736207543", true},
		{"Bank of Russia", "7702235133", true},
		{"person", "500100732259", true},
		{"company, check digit wrong", "7707083894", false},
		{"company, digits exchanged", "7770083893", false},
		{"person, first check digit wrong", "500100732269", false},
		{"person, second check digit wrong", "500100732258", false},
		{"11 digits", "50010073225", false},
		{"9 digits", "770708389", false},
		{"13 digits", "5001007322590", false},
		{"all zero", "0000000000", false},
		{"person all zero", "000000000000", false},
		{"letters", "77070838X3", false},
		{"nothing", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := INN(tt.inn); got != tt.want {
				t.Error(got)
			}
		})
	}
}

func TestBanks(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range Banks {
		if !BankID(b.ID) || b.Eng == "" || b.Rus == "" || seen[b.ID] {
			t.Errorf("%+v", b)
		}
		seen[b.ID] = true
	}
	for _, id := range []string{"100000000131", "100000000132", "100000000197", "100000000069"} {
		if !seen[id] {
			t.Errorf("no bank %s", id)
		}
	}
}

func TestKind(t *testing.T) {
	for _, tt := range []struct {
		want Kind
		i    Instrument
	}{
		{"", Instrument{}},
		{KindCard, Instrument{Card: &Card{}}},
		{KindAccount, Instrument{Account: &Account{}}},
		{KindFPS, Instrument{FPS: &FPS{}}},
		{KindWallet, Instrument{Wallet: &Wallet{}}},
	} {
		if got := tt.i.Kind(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
