package instrument

// Bank is a member of the faster payment system.
type Bank struct {
	ID  string // 12 digits, the bank_id of an FPS payout
	Eng string
	Rus string
}

// Banks are the members that fps/banks lists (wire reference, core §3.8): the
// two of the reference's example, the two to which the published SDK and
// documents send their tests, and some large participants under the public
// member ids of the operator, NSPK. It is a sample: an installation with a real
// rail takes the directory of its bank.
var Banks = []Bank{
	{"100000000131", "Example Bank One", "Пример Банк Один"},
	{"100000000132", "Example Bank Two", "Пример Банк Два"},
	{"100000000197", "Transstroibank", "Трансстройбанк"},
	{"100000000069", "SDM-Bank", "СДМ-Банк"},
	{"100000000111", "Sberbank", "Сбербанк"},
	{"100000000004", "T-Bank", "Т-Банк"},
	{"100000000005", "VTB", "ВТБ"},
	{"100000000008", "Alfa-Bank", "Альфа-Банк"},
	{"100000000001", "Gazprombank", "Газпромбанк"},
	{"100000000007", "Raiffeisenbank", "Райффайзенбанк"},
	{"100000000010", "PSB", "ПСБ"},
	{"100000000013", "Sovcombank", "Совкомбанк"},
	{"100000000017", "MTS Bank", "МТС-Банк"},
	{"100000000020", "Russian Agricultural Bank", "Россельхозбанк"},
	{"100000000022", "YooMoney", "ЮMoney"},
	{"100000000025", "Credit Bank of Moscow", "МКБ"},
	{"100000000029", "Bank Saint Petersburg", "Банк Санкт-Петербург"},
	{"100000000030", "UniCredit Bank", "ЮниКредит Банк"},
	{"100000000150", "Yandex Bank", "Яндекс Банк"},
	{"100000000273", "Ozon Bank", "Озон Банк"},
}
