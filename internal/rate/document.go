package rate

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"

	"github.com/payoutd/payoutd/money"
)

// document is what a source has published at one time.
type document struct {
	at     time.Time // from when it holds
	prices map[money.Currency]Price
}

// moscow is the Bank of Russia's time; it has been three hours ahead of UTC
// since 2014.
var moscow = time.FixedZone("MSK", 3*60*60)

// parse reads a document in either form: the Bank of Russia's XML, or JSON.
// Currencies that are not known here are passed over, whatever stands there; a
// mistake about one that is known spoils the whole document.
func parse(b []byte) (document, error) {
	if bytes.HasPrefix(bytes.TrimLeft(b, "\ufeff \t\r\n"), []byte("<")) {
		return parseXML(b)
	}
	return parseJSON(b)
}

// parseXML reads the daily rates of the Bank of Russia, XML_daily.asp:
//
//	<ValCurs Date="02.03.2026" name="Foreign Currency Market">
//	  <Valute ID="R01235"><NumCode>840</NumCode><CharCode>USD</CharCode>
//	    <Nominal>1</Nominal><Name>…</Name><Value>80,5000</Value></Valute>
//	</ValCurs>
//
// in windows-1251 or UTF-8. A value is for Nominal units, and holds from the
// midnight of the date in Moscow.
func parseXML(b []byte) (document, error) {
	var in struct {
		XMLName xml.Name `xml:"ValCurs"`
		Date    string   `xml:"Date,attr"`
		Valutes []struct {
			Code    string `xml:"CharCode"`
			Nominal string `xml:"Nominal"`
			Value   string `xml:"Value"`
		} `xml:"Valute"`
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(charset string, input io.Reader) (io.Reader, error) {
		switch strings.ToLower(charset) {
		case "windows-1251":
			return charmap.Windows1251.NewDecoder().Reader(input), nil
		case "utf-8":
			return input, nil
		}
		return nil, fmt.Errorf("charset %q is not read here", charset)
	}
	if err := d.Decode(&in); err != nil {
		return document{}, fmt.Errorf("daily rates: %w", err)
	}
	at, err := time.ParseInLocation("02.01.2006", in.Date, moscow)
	if err != nil {
		return document{}, fmt.Errorf("daily rates: %w", err)
	}
	read := document{at: at.UTC(), prices: map[money.Currency]Price{}}
	for _, v := range in.Valutes {
		if err := read.add(v.Code, strings.Replace(v.Value, ",", ".", 1), v.Nominal); err != nil {
			return document{}, err
		}
	}
	return read, read.check()
}

// parseJSON reads {"time":"2026-03-02T09:00:00+03:00","rates":{"usd":"80.5"}}:
// a price is a string, so that nobody makes a binary fraction of it.
func parseJSON(b []byte) (document, error) {
	var in struct {
		Time  time.Time         `json:"time"`
		Rates map[string]string `json:"rates"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&in); err != nil {
		return document{}, fmt.Errorf("rates: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return document{}, errors.New("rates: something follows the JSON object")
	}
	if in.Time.IsZero() {
		return document{}, errors.New("rates: time is missing")
	}
	read := document{at: in.Time.UTC(), prices: map[money.Currency]Price{}}
	for code, price := range in.Rates {
		if err := read.add(code, price, "1"); err != nil {
			return document{}, err
		}
	}
	return read, read.check()
}

// add takes the price of nominal units of a currency.
func (d *document) add(code, price, nominal string) error {
	c, err := money.ParseCurrency(code)
	if err != nil || c == money.RUB {
		return nil
	}
	if _, twice := d.prices[c]; twice {
		return fmt.Errorf("rates: %s stands there twice", c)
	}
	p, err := ParsePrice(price)
	if err != nil {
		return fmt.Errorf("rates: %s: %w", c, err)
	}
	units, err := strconv.ParseInt(nominal, 10, 32)
	if err != nil || units <= 0 || int64(p)%units != 0 {
		return fmt.Errorf("rates: %s: no exact price of one unit can be had", c)
	}
	d.prices[c] = p / Price(units)
	return nil
}

func (d *document) check() error {
	if len(d.prices) == 0 {
		return errors.New("rates: the document has none that is known here")
	}
	return nil
}
