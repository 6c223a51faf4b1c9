package history

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// most bounds a judgement; each takes milliseconds.
const most = time.Minute

// during is a request from one moment to another.
func during(from, to time.Duration, ask Ask, told Answer) Request {
	return Request{From: from, To: to, Ask: ask, Answer: told}
}

var (
	ask      = Ask{Do: Init, Body: 1}
	replay   = Ask{Do: Init, Body: 1, Replay: true}
	other    = Ask{Do: Init, Body: 2, Replay: true}
	lookAt7  = Ask{Do: Look, Session: "7"}
	made7    = Answer{Kind: Good, Session: "7"}
	made8    = Answer{Kind: Good, Session: "8"}
	again7   = Answer{Kind: Good, Session: "7", Replayed: true}
	again8   = Answer{Kind: Good, Session: "8", Replayed: true}
	taken    = Answer{Kind: Taken}
	wrong    = Answer{Kind: Wrong}
	missing  = Answer{Kind: Missing}
	undone   = Answer{Kind: Undone}
	lost     = Answer{Kind: Lost}
	done     = Answer{Kind: Good}
	repeated = Answer{Kind: Good, Replayed: true}
	awaiting = Answer{Kind: Good, Awaits: true}

	confirm    = Ask{Do: Confirm}
	cancel     = Ask{Do: Cancel}
	look       = Ask{Do: Look}
	confirmBy1 = Ask{Do: Confirm, Key: 1, Replay: true}
	cancelBy1  = Ask{Do: Cancel, Key: 1, Replay: true}
	firmBy1    = Ask{Do: Confirm, Key: 1}
)

// Histories that no order explains are told from those that one does.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name  string
		about Subject
		wrong bool
		asked []Request
	}{
		{"a key makes one session", Key, false, []Request{during(1, 2, ask, made7), during(3, 4, replay, again7), during(3, 4, ask, taken)}},
		{"a key makes two sessions", Key, true, []Request{during(1, 2, replay, made7), during(1, 3, replay, made8)}},
		{"a key makes one session twice", Key, true, []Request{during(1, 3, replay, made7), during(2, 4, replay, made7)}},
		{"a repeat gets another session", Key, true, []Request{during(1, 3, ask, made7), during(1, 9, replay, again8)}},
		{"two repeats of a lost request differ", Key, true, []Request{during(1, 2, ask, lost), during(3, 4, replay, again7), during(5, 6, replay, again8)}},
		{"the first answer again, before there is one", Key, true, []Request{during(1, 2, replay, again7), during(3, 4, replay, made7)}},
		{"the first answer again, and nobody was first", Key, true, []Request{during(1, 2, replay, again7), during(1, 2, ask, undone)}},
		{"the first answer again, of one that was lost", Key, false, []Request{during(3, 4, replay, again7), during(1, 2, ask, lost)}},
		{"a lost request is done late", Key, false, []Request{during(1, 2, ask, lost), during(3, 4, other, undone), during(5, 6, ask, taken)}},
		{"a lost request is done before it was sent", Key, true, []Request{during(3, 4, ask, lost), during(1, 2, ask, taken)}},
		{"a lost request of another body is repeated", Key, true, []Request{during(1, 2, other, lost), during(3, 4, replay, again7)}},
		{"a key is refused that is free", Key, true, []Request{during(1, 2, ask, taken), during(3, 4, ask, made7)}},
		{"a key with another body is replayed", Key, true, []Request{during(1, 2, replay, made7), during(3, 4, other, again7)}},
		{"a repeat is refused that asks for the answer", Key, true, []Request{during(1, 2, ask, made7), during(3, 4, replay, taken)}},
		{"a session that was acknowledged is there", Key, false, []Request{during(1, 2, ask, made7), during(3, 4, lookAt7, done)}},
		{"a session that was acknowledged is lost", Key, true, []Request{during(1, 2, ask, made7), during(3, 4, lookAt7, missing)}},
		{"what is said not to be done is done", Key, true, []Request{during(1, 2, ask, undone), during(3, 4, replay, again7)}},
		{"a wrong state of a key", Key, true, []Request{during(1, 2, ask, wrong)}},

		{"confirmed", Session, false, []Request{during(1, 4, confirm, done), during(1, 2, look, awaiting), during(2, 3, look, done), during(5, 6, cancel, wrong)}},
		{"confirmed and cancelled", Session, true, []Request{during(1, 3, confirm, done), during(2, 4, cancel, done)}},
		{"confirmed twice", Session, true, []Request{during(1, 3, confirm, done), during(2, 4, confirmBy1, done)}},
		{"refused while it awaits", Session, true, []Request{during(1, 3, confirm, wrong), during(4, 5, cancel, done)}},
		{"a status of the past", Session, true, []Request{during(1, 2, confirm, done), during(3, 4, look, awaiting)}},
		{"a status of the future", Session, true, []Request{during(3, 4, confirm, done), during(1, 2, look, done)}},
		{"undecided again", Session, true, []Request{during(1, 9, confirm, lost), during(2, 3, look, done), during(4, 5, look, awaiting)}},
		{"a lost confirm is done late", Session, false, []Request{during(1, 2, confirm, lost), during(3, 4, look, awaiting), during(5, 6, look, done)}},
		{"a lost confirm, and cancelled", Session, false, []Request{during(1, 2, confirm, lost), during(3, 4, cancel, done), during(5, 6, cancel, wrong)}},
		{"confirmed with a key", Session, false, []Request{
			during(1, 2, confirmBy1, lost), during(3, 4, confirmBy1, repeated), during(5, 6, cancelBy1, taken), during(5, 6, firmBy1, taken), during(5, 6, cancel, wrong),
		}},
		{"a key that is used for the other decision", Session, true, []Request{during(1, 2, confirmBy1, done), during(3, 4, cancelBy1, repeated)}},
		{"a key is taken that nobody has used", Session, true, []Request{during(1, 2, confirm, done), during(3, 4, confirmBy1, taken)}},
		{"confirmed with a key, and a repeat finds it in a wrong state", Session, true, []Request{during(1, 2, confirmBy1, done), during(3, 4, confirmBy1, wrong)}},
		{"a session that was acknowledged is lost, and decided", Session, true, []Request{during(1, 2, confirm, missing)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := History{About: c.about, Requests: c.asked}
			if err := h.Judge(most); errors.Is(err, ErrNoOrder) != c.wrong {
				t.Errorf("judged: %v, want wrong: %t", err, c.wrong)
			}
		})
	}
}

// Of 64 copies of a request of which any could be the first, two that say so
// are found at once.
func TestJudgeOfManyCopies(t *testing.T) {
	h := History{About: Key}
	for i := range time.Duration(64) {
		told := again7
		if i == 30 {
			told = made7
		}
		h.Requests = append(h.Requests, during(i, 1000+i*7%64, replay, told), during(i, 2000, replay, lost), during(i, 900+i, ask, taken))
	}
	if err := h.Judge(most); err != nil {
		t.Error(err)
	}
	h.Requests[60].Answer = made8
	if err := h.Judge(most); !errors.Is(err, ErrNoOrder) {
		t.Errorf("two first ones: %v", err)
	}
}

// What is left out of a history does not change what is found about it.
func TestThinKeepsTheVerdict(t *testing.T) {
	verdicts := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		asks := []Ask{ask, replay, other, lookAt7}
		answers := []Answer{made7, made7, again7, again7, again8, taken, taken, lost, lost, missing, undone, done}
		h := History{About: Key}
		if rapid.Bool().Draw(t, "session") {
			h.About = Session
			asks = []Ask{confirm, cancel, look, look, confirmBy1, cancelBy1, firmBy1}
			answers = []Answer{done, done, repeated, awaiting, awaiting, taken, wrong, wrong, lost, lost, undone}
		}
		for range rapid.IntRange(1, 9).Draw(t, "requests") {
			from := time.Duration(rapid.IntRange(0, 8).Draw(t, "from"))
			to := from + time.Duration(rapid.IntRange(0, 8).Draw(t, "takes"))
			h.Requests = append(h.Requests, during(from, to, rapid.SampledFrom(asks).Draw(t, "ask"), rapid.SampledFrom(answers).Draw(t, "answer")))
		}
		whole := judge(h.model(), operations(h.Requests), most)
		if thin := h.Judge(most); !errors.Is(thin, whole) {
			t.Fatalf("the whole: %v, without what can be spared: %v", whole, thin)
		}
		verdicts[whole == nil]++
	})
	if verdicts[true] == 0 || verdicts[false] == 0 {
		t.Errorf("%v: the test has grown blind", verdicts)
	}
}

func TestKeepAndRead(t *testing.T) {
	h := &History{About: Key, Name: "k", Requests: []Request{during(1, 2, replay, made7), during(3, 4, lookAt7, missing), during(5, 6, Ask{Do: Confirm, Key: 2}, awaiting)}}
	h.Requests[1].Client = 3
	folder := filepath.Join(t.TempDir(), "new")
	file, err := h.Keep(folder)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Read(file)
	if err != nil || !reflect.DeepEqual(again, h) {
		t.Errorf("read %+v, error %v; want %+v", again, err, h)
	}
	if second, err := h.Keep(folder); err != nil || second == file {
		t.Errorf("kept in %s and in %s, error %v", file, second, err)
	}
	if h.Count(Good) != 2 || h.Count(Good, Missing) != 3 || h.Count(Lost) != 0 {
		t.Errorf("%d good, %d good or missing, %d lost", h.Count(Good), h.Count(Good, Missing), h.Count(Lost))
	}
}

func TestReadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"no subject":         `{"about":"door"}`,
		"an unknown member":  `{"about":"key"}` + "\n" + `{"when":1}`,
		"half a line":        `{"about":"key"}` + "\n" + `{"from":1`,
		"a key beyond bound": `{"about":"session"}` + "\n" + `{"ask":{"do":"confirm","key":3}}`,
	} {
		file := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := Read(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %+v, error %v", name, h, err)
		}
	}
}

// TestKeptHistory judges the file that HISTORY names, which another run has
// kept.
func TestKeptHistory(t *testing.T) {
	file := os.Getenv("HISTORY")
	if file == "" {
		t.Skip("make histories HISTORY=file judges a file")
	}
	h, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := h.Judge(10 * most); err != nil {
		t.Fatalf("%s %s: %v", h.About, h.Name, err)
	}
	t.Logf("%s %s: an order explains the answers to %d requests, found in %s", h.About, h.Name, len(h.Requests), time.Since(began))
}
