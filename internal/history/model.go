package history

import "github.com/anishathalye/porcupine"

// burnt is what an idempotency key stands for.
type burnt struct {
	used    bool
	session string // "" as long as nobody was told
	body    int    // 0 with used false
}

// keyModel is an idempotency key, which makes one session or none: the first
// request with it that is carried out. After that the same request gets the
// answer of the first if it asks for that, and every other one is refused. A
// session that somebody was told of is there.
var keyModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{burnt{}} },
	Step: func(state, input, output any) []any {
		s, ask, told := state.(burnt), input.(Ask), output.(Answer)
		same := ask.Replay && s.body == ask.Body
		known := burnt{true, told.Session, ask.Body}
		switch told.Kind {
		case Undone:
			return []any{s}
		case Lost:
			if s.used || ask.Do == Look {
				return []any{s}
			}
			return []any{s, burnt{used: true, body: ask.Body}}
		case Taken:
			if ask.Do == Init && s.used && !same {
				return []any{s}
			}
		case Missing:
			if ask.Do == Look && s.session != ask.Session {
				return []any{s}
			}
		case Good:
			switch {
			case ask.Do == Look:
				if s.used && (s.session == "" || s.session == ask.Session) {
					return []any{burnt{true, ask.Session, s.body}}
				}
			case !told.Replayed:
				if !s.used {
					return []any{known}
				}
			case s.used && same && (s.session == "" || s.session == told.Session):
				return []any{known}
			}
		}
		return nil
	},
}).ToModel()

// fate is what has become of a session that awaited, and by which keys.
type fate struct {
	decided Do              // "" while it awaits
	keys    [KeysMax + 1]Do // what each key was used for; that of 0 stays ""
}

// sessionModel is a session that awaits confirmation, and is decided once:
// confirmed or cancelled. With a key that was used before, the same request
// gets the first answer again if it asks for that; whatever else comes after
// the decision is refused.
var sessionModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{fate{}} },
	Step: func(state, input, output any) []any {
		s, ask, told := state.(fate), input.(Ask), output.(Answer)
		used, same := s.keys[ask.Key] != "", ask.Replay && s.keys[ask.Key] == ask.Do
		done := s
		if done.decided = ask.Do; ask.Key != 0 {
			done.keys[ask.Key] = ask.Do
		}
		switch told.Kind {
		case Undone:
			return []any{s}
		case Lost:
			if ask.Do == Look || s.decided != "" {
				return []any{s}
			}
			return []any{s, done}
		case Taken:
			if ask.Do != Look && used && !same {
				return []any{s}
			}
		case Wrong:
			if ask.Do != Look && s.decided != "" && !used {
				return []any{s}
			}
		case Good:
			switch {
			case ask.Do == Look:
				if told.Awaits == (s.decided == "") {
					return []any{s}
				}
			case told.Replayed:
				if used && same {
					return []any{s}
				}
			case s.decided == "":
				return []any{done}
			}
		}
		return nil
	},
}).ToModel()
