package console

import "strings"

// words are what the console says in one language.
type words map[string]string

// languages are the languages that the console speaks; the first is for
// everybody else.
var languages = []struct {
	tag   string
	words words
}{
	{"en", words{
		"receipt": "Receipt", "receipt_reserved": "when it is paid", "receipt_due": "due", "receipt_registering": "being registered", "receipt_refused": "refused",
		"receipt_registered": "registered", "receipt_undoing": "to be cancelled", "receipt_cancelling": "being cancelled", "receipt_annulled": "cancelled", "receipt_releasing": "not needed", "receipt_released": "not needed",
		"brand": "payoutd", "console": "Console", "sandbox": "Sandbox", "skip": "Skip to the content", "menu": "Menu", "language": "Language",
		"nav_payouts": "Payouts", "nav_balances": "Balances", "nav_alarms": "Alarms", "nav_reports": "Reports", "nav_audit": "Audit",
		"nav_operators": "Operators", "logout": "Log out", "moscow": "All times are Moscow time (UTC+3).", "role_viewer": "viewer",
		"role_accountant": "accountant", "role_admin": "administrator", "title_login": "Log in", "login_lead": "Operator console",
		"login_name": "Name", "login_password": "Password", "login_submit": "Log in", "login_wrong": "Name or password is wrong.",
		"login_throttled": "Too many attempts. Wait a minute and try again.",
		"login_foreign":   "The form was sent by another site. Try again here.", "title_payouts": "Payouts", "filter": "Filter",
		"project": "Project", "all_projects": "All projects", "state": "State", "all_states": "All states", "id": "ID", "id_hint": "ps_… or po_…",
		"from": "From", "to": "To", "apply": "Show", "clear": "Clear", "choose": "There are many projects. Choose one.",
		"none_found": "No payouts here.", "none_found_more": "None among the sessions looked at so far. Go on to older ones.",
		"missing_id": "Nothing has this ID.", "newest": "Newest", "older": "Older", "created": "Created", "amount": "Amount",
		"recipient": "Recipient", "destination": "To", "paid_from": "Paid from", "source_rko": "Settlement account", "source_nominal": "Escrow account", "asked": "asked for", "state_created": "Created", "state_checking": "Checking", "state_checked": "Checked",
		"state_awaiting_confirm": "Awaits confirm", "state_confirmed": "Confirmed", "state_sent": "Sent", "state_unclear": "Unclear",
		"state_paid": "Paid", "state_failed": "Failed", "state_cancelled": "Cancelled", "state_returned": "Returned",
		"state_disputed": "Disputed", "kind_card": "Card", "kind_bank_account": "Bank account", "kind_fps": "FPS", "kind_wallet": "Wallet",
		"session": "Session", "payout": "Payout", "back": "All payouts", "fee": "Fee", "total": "Amount and fee", "rail": "Rail",
		"reference": "Reference", "attempts": "Attempts", "sent": "Sent", "finished": "Finished", "unclear_since": "Unclear since", "rrn": "RRN",
		"verification": "Verification, no money", "exchange": "Exchange", "original": "Asked for", "rate": "Rate", "rate_source": "Source",
		"rate_at": "Rate of", "quoted": "Quoted", "locked": "Locked until", "no_quote": "Not quoted yet.", "failure": "Why it failed",
		"metadata": "Metadata", "api_version": "API version", "updated": "Last change", "refunds": "Returns", "refund": "Return",
		"status": "Status", "came_back": "Came back", "booked": "Booked", "fee_back": "Fee back", "refund_kept": "kept until the answer",
		"refund_booked": "booked", "refund_suspended": "in suspense", "refund_refused": "not booked", "events": "Webhooks", "event": "Event",
		"no_events": "No webhooks.", "event_pending": "pending", "event_delivered": "delivered", "event_given_up": "given up",
		"event_muted": "not sent", "next_attempt": "next attempt", "delivery_log": "Attempts", "delivered": "delivered", "entries": "Ledger",
		"entry": "Entry", "time": "Time", "no_entries": "Nothing booked.",
		"entries_partial": "Some entries lie further away in the book and are not shown; “payoutd check” proves them.", "available": "Available",
		"held": "Held", "clearing": "Clearing", "fees": "Fees", "deposits": "Deposits", "suspense": "Suspense", "entry_deposit": "deposit",
		"entry_hold": "hold", "entry_settle": "settle", "entry_release": "release", "entry_return": "return", "entry_suspend": "suspend",
		"entry_stray": "stray", "title_alarms": "Alarms", "alarm": "Alarm", "no_alarms": "No alarms.",
		"alarms_full": "Only the newest alarms are shown, so many:", "title_balances": "Balances",
		"balances_lead": "Roubles, as they stand in the book of each project now; below it, its own accounts at the bank.", "all_together": "All together",
		"no_projects": "No projects yet.", "too_large": "The total does not fit.", "title_reports": "Daily report",
		"reports_lead": "Payouts that were paid on a day in Moscow, and what came back on it.", "date": "Day", "show_report": "Show",
		"choose_project": "Choose a project.", "no_operations": "No operations on this day: the file is empty.",
		"unfinished": "The day is not over: more may come.", "download_csv": "Download CSV", "download_xlsx": "Download XLSX",
		"preview": "The first operations", "preview_more": "More operations stand in the file.",
		"downloads_logged": "Each download is written down in the audit.", "type": "Type", "type_Advice": "Payout", "type_Refund": "Return",
		"gross": "With fee", "payment": "Payment", "operation": "Operation", "title_audit": "Audit",
		"audit_lead": "The newest acts of operators, at the shell and here.", "actor": "Who", "act": "What", "subject": "Subject",
		"text": "Details", "no_acts": "No acts yet.", "title_operators": "Operators",
		"operators_lead": "Who may log in here. They are added and changed at the shell, by “payoutd operator”.", "name": "Name", "role": "Role",
		"since": "Since", "no_operators": "No operators.", "problem_missing": "This page does not exist",
		"problem_missing_text": "Or what it showed does not.", "problem_archived": "This session is archived", "problem_invalid": "This can’t be shown",
		"problem_invalid_text": "Check what was asked for.", "problem_forbidden": "This page is not for you",
		"problem_forbidden_text": "Your role does not show it.", "problem_busy": "The database does not answer",
		"problem_busy_text": "Wait a minute and try again.", "problem_internal": "Something went wrong",
		"problem_internal_text": "The log of the server says more.", "home": "To the payouts",
	}},
	{"ru", words{ // #nosec G101 -- what the form calls a password, and no password
		"receipt": "Чек", "receipt_reserved": "после выплаты", "receipt_due": "нужно выдать", "receipt_registering": "регистрируется", "receipt_refused": "отклонён",
		"receipt_registered": "зарегистрирован", "receipt_undoing": "будет аннулирован", "receipt_cancelling": "аннулируется", "receipt_annulled": "аннулирован", "receipt_releasing": "не нужен", "receipt_released": "не нужен",
		"brand": "payoutd", "console": "Консоль", "sandbox": "Песочница", "skip": "К содержанию", "menu": "Меню", "language": "Язык",
		"nav_payouts": "Выплаты", "nav_balances": "Балансы", "nav_alarms": "Тревоги", "nav_reports": "Отчёты", "nav_audit": "Журнал",
		"nav_operators": "Операторы", "logout": "Выйти", "moscow": "Время везде московское (UTC+3).", "role_viewer": "наблюдатель",
		"role_accountant": "бухгалтер", "role_admin": "администратор", "title_login": "Вход", "login_lead": "Консоль оператора",
		"login_name": "Имя", "login_password": "Пароль", "login_submit": "Войти", "login_wrong": "Неверное имя или пароль.",
		"login_throttled": "Слишком много попыток. Подождите минуту и попробуйте снова.",
		"login_foreign":   "Форму отправил другой сайт. Попробуйте ещё раз здесь.", "title_payouts": "Выплаты", "filter": "Фильтр",
		"project": "Проект", "all_projects": "Все проекты", "state": "Состояние", "all_states": "Все состояния", "id": "Номер",
		"id_hint": "ps_… или po_…", "from": "С", "to": "По", "apply": "Показать", "clear": "Сбросить", "choose": "Проектов много. Выберите один.",
		"none_found": "Выплат нет.", "none_found_more": "Среди просмотренных сессий таких нет. Перейдите к более старым.",
		"missing_id": "С таким номером ничего нет.", "newest": "Новейшие", "older": "Старше", "created": "Создана", "amount": "Сумма",
		"recipient": "Получатель", "destination": "Куда", "paid_from": "Откуда", "source_rko": "Расчётный счёт", "source_nominal": "Номинальный счёт", "asked": "запрошено", "state_created": "Создана", "state_checking": "Проверяется", "state_checked": "Проверена",
		"state_awaiting_confirm": "Ждёт подтверждения", "state_confirmed": "Подтверждена", "state_sent": "Отправлена", "state_unclear": "Неясна",
		"state_paid": "Выплачена", "state_failed": "Не прошла", "state_cancelled": "Отменена", "state_returned": "Возвращена",
		"state_disputed": "Спорная", "kind_card": "Карта", "kind_bank_account": "Счёт", "kind_fps": "СБП", "kind_wallet": "Кошелёк",
		"session": "Сессия", "payout": "Выплата", "back": "Все выплаты", "fee": "Комиссия", "total": "Сумма с комиссией", "rail": "Канал",
		"reference": "Номер в канале", "attempts": "Попыток", "sent": "Отправлена", "finished": "Завершена", "unclear_since": "Неясна с",
		"rrn": "RRN", "verification": "Проверка, без денег", "exchange": "Обмен", "original": "Запрошено", "rate": "Курс",
		"rate_source": "Источник", "rate_at": "Курс от", "quoted": "Рассчитано", "locked": "Курс закреплён до", "no_quote": "Ещё не рассчитано.",
		"failure": "Почему не прошла", "metadata": "Метаданные", "api_version": "Версия API", "updated": "Изменена", "refunds": "Возвраты",
		"refund": "Возврат", "status": "Статус", "came_back": "Вернулось", "booked": "Проведено", "fee_back": "Возврат комиссии",
		"refund_kept": "ждёт ответа канала", "refund_booked": "проведён", "refund_suspended": "на выяснении", "refund_refused": "не проведён",
		"events": "Вебхуки", "event": "Событие", "no_events": "Вебхуков нет.", "event_pending": "ожидает", "event_delivered": "доставлен",
		"event_given_up": "не доставлен", "event_muted": "не отправляется", "next_attempt": "следующая попытка", "delivery_log": "Попытки",
		"delivered": "доставлен", "entries": "Проводки", "entry": "Проводка", "time": "Время", "no_entries": "Проводок нет.",
		"entries_partial": "Часть проводок стоит в книге дальше и не показана; их доказывает «payoutd check».", "available": "Доступно",
		"held": "Удержано", "clearing": "Расчёты", "fees": "Комиссии", "deposits": "Пополнения", "suspense": "На выяснении",
		"entry_deposit": "пополнение", "entry_hold": "удержание", "entry_settle": "списание", "entry_release": "снятие удержания",
		"entry_return": "возврат", "entry_suspend": "на выяснение", "entry_stray": "неопознанный возврат", "title_alarms": "Тревоги",
		"alarm": "Тревога", "no_alarms": "Тревог нет.", "alarms_full": "Показаны только новейшие тревоги, в количестве:",
		"title_balances": "Балансы", "balances_lead": "Рубли, как они стоят сейчас в книге каждого проекта; под ним — его собственные счета в банке.", "all_together": "Все вместе",
		"no_projects": "Проектов пока нет.", "too_large": "Сумма слишком велика.", "title_reports": "Дневной отчёт",
		"reports_lead": "Выплаты, прошедшие за день по московскому времени, и возвраты за этот день.", "date": "День", "show_report": "Показать",
		"choose_project": "Выберите проект.", "no_operations": "В этот день операций не было: файл пуст.",
		"unfinished": "День не закончился: операции могут добавиться.", "download_csv": "Скачать CSV", "download_xlsx": "Скачать XLSX",
		"preview": "Первые операции", "preview_more": "Остальные операции — в файле.",
		"downloads_logged": "Каждое скачивание записывается в журнал.", "type": "Тип", "type_Advice": "Выплата", "type_Refund": "Возврат",
		"gross": "С комиссией", "payment": "Выплата", "operation": "Операция", "title_audit": "Журнал",
		"audit_lead": "Последние действия операторов — в командной строке и здесь.", "actor": "Кто", "act": "Что", "subject": "Предмет",
		"text": "Подробности", "no_acts": "Действий пока нет.", "title_operators": "Операторы",
		"operators_lead": "Кто может войти. Добавляют и меняют их командой «payoutd operator».", "name": "Имя", "role": "Роль", "since": "С",
		"no_operators": "Операторов нет.", "problem_missing": "Такой страницы нет", "problem_missing_text": "Или нет того, что она показывала.",
		"problem_archived": "Сессия в архиве", "problem_invalid": "Это показать нельзя", "problem_invalid_text": "Проверьте, что запрошено.",
		"problem_forbidden": "Эта страница не для вас", "problem_forbidden_text": "Ваша роль её не показывает.",
		"problem_busy": "База данных не отвечает", "problem_busy_text": "Подождите минуту и попробуйте снова.",
		"problem_internal": "Что-то пошло не так", "problem_internal_text": "Подробности — в логе сервера.", "home": "К выплатам",
	}},
}

// speak chooses the language: the visitor's wish, else the browser's first
// choice that there is, else the first.
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
