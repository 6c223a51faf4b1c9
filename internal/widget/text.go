package widget

import "strings"

// words are what a frame says in one language. Its script gets the same map.
type words map[string]string

// languages are the languages that a frame speaks; the first is for everybody
// else.
var languages = []struct {
	tag   string
	words words
}{
	{"en", words{
		"title_card": "Card details", "title_account": "Bank account details", "title_link": "Self-employed registration",
		"number": "Card number", "number_hint": "1234 1234 1234 1234",
		"bik": "BIK of the bank", "bik_hint": "9 digits", "account": "Account number", "account_hint": "20 digits",
		"submit_card": "Save card", "submit_account": "Save account", "submitting": "Saving…",
		"safe": "Sent securely. This site never sees the number.",

		"number_empty":      "Enter the card number.",
		"number_short":      "The card number is too short.",
		"number_long":       "The card number is too long.",
		"number_invalid":    "Check the card number: a digit seems to be wrong.",
		"bik_empty":         "Enter the BIK.",
		"bik_length":        "A BIK has 9 digits.",
		"account_empty":     "Enter the account number.",
		"account_length":    "An account number has 20 digits.",
		"account_key":       "The account number does not fit this BIK. Check both.",
		"account_invalid":   "The bank does not take this account number.",
		"details_invalid":   "These details were not accepted. Check them, please.",
		"done_card":         "Card saved",
		"done_account":      "Account saved",
		"done_text_card":    "Your payout goes to this card.",
		"done_text_account": "Your payout goes to this account.",

		"link_head":     "Link your self-employed registration",
		"link_text":     "Then each payout is registered with the tax service, and you do not have to issue receipts yourself.",
		"person":        "INN or phone number",
		"person_hint":   "12 digits, or +7 …",
		"person_empty":  "Enter your INN or phone number.",
		"person_format": "Enter an INN of 12 digits or a phone number that begins with +7.",
		"person_other":  "This is not the person that this page is for. Check the number.",
		"terms":         "I allow my income from these payouts to be registered with the tax service, and receipts to be issued for me.",
		"terms_missing": "Your consent is needed to go on.",
		"submit_link":   "Link", "linking": "Sending…",
		"sent_head":  "Confirm the request",
		"sent_text":  "We have sent a request to the tax service. Confirm it there:",
		"sent_step1": "Open the “Мой налог” app or its site.",
		"sent_step2": "Find the request among the notifications and allow it.",
		"sent_step3": "Come back here and refresh.",
		"refresh":    "Refresh request status", "refreshing": "Asking the tax service…", "sent_still": "Not confirmed yet. Refresh again when you have allowed the request.",
		"linked_head": "You are linked", "linked_text": "Your next payouts are registered with the tax service.",
		"rejected_head": "The request was declined", "rejected_text": "It was declined in the “Мой налог” app. You may send it once more.",
		"again": "Send again",

		"offline":     "No internet connection. What you have entered stays here.",
		"network":     "The connection failed. Try again.",
		"unavailable": "The service does not answer at the moment. Try again in a minute.",
		"throttled":   "Too many attempts. Wait a minute and try again.",

		"unknown_head": "This form cannot be opened", "unknown_text": "Go back to the site and open it again.",
		"expired_head": "This form has expired", "expired_text": "Go back to the site and open it again.",
		"used_head": "This form has been used", "used_text": "It works once only. Go back to the site and open it again.",
		"attempts_head": "Too many attempts", "attempts_text": "For safety this form is closed. Go back to the site and open it again.",
		"wrong_head": "This form cannot be opened", "wrong_text": "It was not asked for by the site. Go back and try another way.",
		"page_head": "This form may not be shown here", "page_text": "If this is your site: its address is not among the project’s widget origins.",
		"acquiring_head": "Incoming payments are not offered", "acquiring_text": "This service pays money out. It cannot take a payment by card.",
		"busy_head": "The service is busy", "busy_text": "Wait a minute and open the form again.",
	}},
	{"ru", words{
		"title_card": "Данные карты", "title_account": "Данные счёта", "title_link": "Подключение самозанятого",
		"number": "Номер карты", "number_hint": "1234 1234 1234 1234",
		"bik": "БИК банка", "bik_hint": "9 цифр", "account": "Номер счёта", "account_hint": "20 цифр",
		"submit_card": "Сохранить карту", "submit_account": "Сохранить счёт", "submitting": "Сохраняем…",
		"safe": "Передаётся защищённо. Этот сайт не увидит номер.",

		"number_empty":      "Введите номер карты.",
		"number_short":      "В номере карты не хватает цифр.",
		"number_long":       "В номере карты слишком много цифр.",
		"number_invalid":    "Проверьте номер карты: похоже, в нём ошибка.",
		"bik_empty":         "Введите БИК.",
		"bik_length":        "В БИК 9 цифр.",
		"account_empty":     "Введите номер счёта.",
		"account_length":    "В номере счёта 20 цифр.",
		"account_key":       "Номер счёта не подходит к этому БИК. Проверьте оба.",
		"account_invalid":   "Банк не принимает такой номер счёта.",
		"details_invalid":   "Данные не приняты. Проверьте их, пожалуйста.",
		"done_card":         "Карта сохранена",
		"done_account":      "Счёт сохранён",
		"done_text_card":    "Выплата придёт на эту карту.",
		"done_text_account": "Выплата придёт на этот счёт.",

		"link_head":     "Подключите статус самозанятого",
		"link_text":     "Тогда доход с каждой выплаты регистрируется в налоговой сам, и чеки выдавать не нужно.",
		"person":        "ИНН или телефон",
		"person_hint":   "12 цифр или +7 …",
		"person_empty":  "Введите ИНН или телефон.",
		"person_format": "Введите ИНН из 12 цифр или телефон, который начинается с +7.",
		"person_other":  "Страница открыта для другого человека. Проверьте номер.",
		"terms":         "Разрешаю регистрировать в налоговой мой доход с этих выплат и выдавать за меня чеки.",
		"terms_missing": "Чтобы продолжить, нужно ваше согласие.",
		"submit_link":   "Подключить", "linking": "Отправляем…",
		"sent_head":  "Подтвердите заявку",
		"sent_text":  "Мы отправили заявку в налоговую. Подтвердите её там:",
		"sent_step1": "Откройте приложение или сайт «Мой налог».",
		"sent_step2": "Найдите заявку в уведомлениях и разрешите её.",
		"sent_step3": "Вернитесь сюда и обновите статус.",
		"refresh":    "Обновить статус заявки", "refreshing": "Спрашиваем налоговую…", "sent_still": "Пока не подтверждено. Обновите ещё раз, когда разрешите заявку.",
		"linked_head": "Статус подключён", "linked_text": "Доход со следующих выплат регистрируется в налоговой.",
		"rejected_head": "Заявка отклонена", "rejected_text": "Её отклонили в приложении «Мой налог». Можно отправить ещё раз.",
		"again": "Отправить ещё раз",

		"offline":     "Нет соединения с интернетом. Введённое останется здесь.",
		"network":     "Связь прервалась. Попробуйте ещё раз.",
		"unavailable": "Сервис сейчас не отвечает. Попробуйте через минуту.",
		"throttled":   "Слишком много попыток. Подождите минуту и попробуйте снова.",

		"unknown_head": "Форма не открывается", "unknown_text": "Вернитесь на сайт и откройте её заново.",
		"expired_head": "Срок действия формы истёк", "expired_text": "Вернитесь на сайт и откройте её заново.",
		"used_head": "Форма уже использована", "used_text": "Она работает один раз. Вернитесь на сайт и откройте её заново.",
		"attempts_head": "Слишком много попыток", "attempts_text": "Для безопасности форма закрыта. Вернитесь на сайт и откройте её заново.",
		"wrong_head": "Форма не открывается", "wrong_text": "Сайт её не запрашивал. Вернитесь и попробуйте другой способ.",
		"page_head": "Здесь форму показать нельзя", "page_text": "Если это ваш сайт: его адреса нет среди разрешённых адресов проекта.",
		"acquiring_head": "Приём платежей не поддерживается", "acquiring_text": "Этот сервис только выплачивает деньги. Оплатить картой здесь нельзя.",
		"busy_head": "Сервис перегружен", "busy_text": "Подождите минуту и откройте форму заново.",
	}},
}

// speak chooses the language: the page's wish, else the browser's first choice
// that there is, else the first.
func speak(wish, accepted string) (string, words) {
	for _, tag := range append([]string{wish}, strings.Split(accepted, ",")...) {
		tag, _, _ = strings.Cut(strings.TrimSpace(strings.ToLower(tag)), ";")
		tag, _, _ = strings.Cut(tag, "-")
		for _, l := range languages {
			if tag == l.tag {
				return l.tag, l.words
			}
		}
	}
	return languages[0].tag, languages[0].words
}
