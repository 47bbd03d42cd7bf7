//! Whether a question asks to stay signed in: one table of words, by language.
//!
//! A question counts where it asks so in so many words ("Stay signed in?"), or where it tells that the session
//! runs out and asks to go on. It does not count where any language's row says that "yes" means something else
//! as well: to sign out, to end a session elsewhere, to delete, to pay. What is not understood does not count.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

/// The words of one language, as regular expressions that do not tell small letters from capitals.
struct Language {
    name: &'static str,
    /// Asks whether to stay signed in: enough by itself.
    asks: &'static str,
    /// Tells that the session is about to run out.
    expires: &'static str,
    /// Asks whether to go on; counts beside `expires`.
    goes_on: &'static str,
    /// "Yes" would mean something else as well.
    unless: &'static str,
}

static LANGUAGES: [Language; 15] = [
    Language {
        name: "English",
        asks: r"\b(stay|remain|keep (me|you)) (signed|logged) ?in\b|\b(stay|remain) (connected|online)\b|\b(extend|keep|continue|renew|prolong)\b.{0,30}\bsession\b|\bstill (there|here)\b",
        expires: r"\b(session|sign-?in|log-?in|signed|logged)\b.{0,80}\b(expir\w*|tim(e|ed|es|ing)[ -]?out|run(s|ning)? out|about to end|(will end|ends|ending) (in|soon)|inactiv\w*|idle)\b|\b(expir\w*|tim(e|ed|es|ing)[ -]?out|inactiv\w*|idle)\b.{0,80}\b(session|signed|logged|sign(ing)? ?(in|out)|log(ging)? ?(in|out))\b|\bautomatically (signed|logged) (out|off)\b|\b(signed|logged) (out|off) (automatically|in \d|soon|due to)",
        goes_on: r"\b(stay|continue|remain|extend|keep|prolong|renew|still|more time)\b",
        unless: r"\b(other|another|second|different|existing|previous|old) (active )?(session|device|browser|user|window|computer|location|place|sign-?in|log-?in)s?\b|\belsewhere\b|\balready (signed|logged) ?in\b|\b(delete|remove|discard|erase|pay|purchase|buy|submit|transfer|cancel (the|this|that|your|my|an?)|(place|confirm) (the|this|your|my) (order|payment|booking|appointment))\b|\b(want|like|wish|sure|ready)\b.{0,30}\b(log|sign) ?(out|off)\b|^\W*(log|sign) ?(out|off)\b|\bcancel\W{0,3} (to|and|if you want to|if you wish to) (stay|continue|remain|extend|keep)\b|\b(ok|yes)\W{0,3} (to|and) (be )?(log|sign|logged|signed) ?(out|off)\b",
    },
    Language {
        name: "German",
        asks: r"\b(angemeldet|eingeloggt|verbunden) (zu )?bleiben\b|\bbleiben sie (angemeldet|eingeloggt)|\bweiter(hin)? (angemeldet|eingeloggt)\b|\b(sitzung|session)\b.{0,40}\b(verlängern|fortsetzen|fortführen|aufrecht ?erhalten|beibehalten|erneuern)\b|\b(verlängern|fortsetzen)\b.{0,40}\b(sitzung|session)\b|\bnoch da\b",
        expires: r"\b(sitzung|session|anmeldung)\b.{0,80}\b(läuft\b.{0,40}\bab|abläuft|ablaufen|abzulaufen|abgelaufen|endet in|zeitüberschreitung|inaktiv\w*)\b|\b(inaktiv\w*|zeitüberschreitung)\b.{0,80}\b(sitzung|session|abgemeldet|ausgeloggt|abmeld\w*)\b|\bautomatisch (abgemeldet|ausgeloggt)\b",
        goes_on: r"\b(bleiben|weiter\w*|fortsetzen|fortfahren|verlängern|noch)\b",
        unless: r"\b(andere[nrsm]?|weitere[nrsm]?|zweite[nrsm]?|bestehende[nrsm]?|vorherige[nrsm]?|alte[nrsm]?) (aktiven? )?(sitzung(en)?|session|gerät|browser|benutzer|rechner|anmeldung)\b|\bbereits (angemeldet|eingeloggt)\b|\banderswo\b|\b(löschen|entfernen|stornieren|verwerfen|bezahlen|kaufen|kostenpflichtig|absenden|überweisen)\b|\b(wirklich|möchten sie sich|wollen sie sich|sicher)\b.{0,20}\b(abmelden|ausloggen)\b|^\W*(abmelden|ausloggen)\b|\babbrechen\b\W{1,3}um\b[^,.;]{0,30}\b(bleiben|fortzufahren|fortzusetzen|weiter\w*|verlängern)\b|\bok\W{1,4}um sich (abzumelden|auszuloggen)\b",
    },
    Language {
        name: "Spanish",
        asks: r"\b(mantener(se)?|permanecer|seguir|continuar)\b.{0,20}\b(conectad[oa]|sesión (iniciada|abierta|activa))\b|\b(extender|prolongar|mantener|continuar|renovar|ampliar|conservar)\b.{0,30}\bsesión\b|\b(sigue|sigues|continúa) ahí\b",
        expires: r"\bsesión\b.{0,80}\b(expir\w*|caduc\w*|venc\w*|inactiv\w*|(finaliza|finalizará|termina|terminará) en|cerrará (automáticamente|en|por))\b|\binactiv\w*\b.{0,80}\b(sesión|desconect\w*)\b",
        goes_on: r"\b(continuar|seguir|permanecer|mantener\w*|extender\w*|prolongar\w*|renovar\w*|ampliar\w*)\b",
        unless: r"\b(otra sesión|otro (dispositivo|navegador|usuario|equipo|lugar)|otra (ventana|ubicación)|sesión (anterior|existente))\b|\bya (ha|tiene|está)\b.{0,20}\b(iniciad[ao]|conectad[ao])\b|\b(eliminar|borrar|suprimir|descartar|anular|pagar|comprar|enviar|cancelar (la|el|su|tu|esta|este))\b|\b(desea|quiere|quieres|deseas|seguro)\b.{0,25}\b(cerrar|salir|finalizar|desconectarse)\b|\bcancelar\W{0,3} para (continuar|seguir|permanecer|mantener)\b|\baceptar\W{0,3} para (cerrar|salir)\b",
    },
    Language {
        name: "French",
        asks: r"\b(rester|demeurer) (connecté|identifié)\w*|\b(prolonger|poursuivre|maintenir|continuer|étendre|renouveler|garder|conserver)\b.{0,30}\bsession\b|\btoujours là\b",
        expires: r"\bsession\b.{0,80}\b(expir\w*|inactiv\w*|se terminer?a? dans|(va|est sur le point de) se terminer|prend(ra)? fin)\b|\binactiv\w*\b.{0,80}\b(session|déconnect\w*)\b|\bdéconnecté\w*\b.{0,40}\b(automatiquement|inactiv\w*|dans \d+)\b|\bautomatiquement déconnecté",
        goes_on: r"\b(continuer|rester|prolonger|poursuivre|maintenir|garder|conserver)\b",
        unless: r"\bautre (session|appareil|navigateur|utilisateur|poste|ordinateur|fenêtre)\b|\bsession (existante|précédente)\b|\bdéjà (connecté|ouverte|identifié)\w*|\b(supprimer|effacer|abandonner|payer|acheter|envoyer|annuler (le|la|les|votre|ce|cette|mon|ma))\b|\b(voulez|souhaitez|veux|sûre?)\b.{0,30}\bdéconnecter\b|^\W*(se )?déconnecter\b|\bannuler\W{0,3} pour (continuer|rester|prolonger|poursuivre|maintenir)\b|\bok\W{0,3} pour (se|vous) déconnecter\b",
    },
    Language {
        name: "Portuguese",
        asks: r"\b(permanecer|continuar|ficar|manter-se) (conectad|ligad|logad|autenticad)[oa]\b|\b(estender|prolongar|manter|continuar|renovar|prorrogar)\b.{0,30}\bsessão\b|\bainda (está |estás )?aí\b",
        expires: r"\bsessão\b.{0,80}\b(expir\w*|inativ\w*|caduc\w*|(termina|terminará) em|encerrada (automaticamente|por|em))\b|\binativ\w*\b.{0,80}\b(sessão|desconectad\w*|desligad\w*)\b",
        goes_on: r"\b(continuar|permanecer|manter|ficar|prolongar|estender|renovar|prorrogar)\b",
        unless: r"\boutr[ao] (sessão|dispositivo|navegador|usuário|utilizador|computador|janela|lugar)\b|\bsessão (existente|anterior)\b|\bjá (está )?(conectad|ligad|logad)\w*|\b(excluir|apagar|eliminar|remover|descartar|pagar|comprar|enviar|cancelar (a|o|sua|seu|esta|este))\b|\b(deseja|quer|certeza)\b.{0,25}\b(sair|encerrar|terminar|desconectar)\b|\bcancelar\W{0,3} para (continuar|permanecer|manter|ficar)\b|\bok\W{0,3} para (sair|encerrar)\b",
    },
    Language {
        name: "Italian",
        asks: r"\b(rimanere|restare) (conness|collegat|autenticat)[oaie]\b|\b(estendere|prolungare|mantenere|continuare|prorogare|rinnovare|proseguire)\b.{0,30}\bsessione\b|\bancora (lì|qui)\b",
        expires: r"\bsessione\b.{0,80}\b(scad\w*|inattiv\w*|(termina|terminerà) (tra|fra)|sta per (terminare|scadere))\b|\binattiv\w*\b.{0,80}\b(sessione|disconness\w*)\b",
        goes_on: r"\b(continuare|rimanere|restare|proseguire|mantenere|prolungare|estendere|rinnovare|prorogare)\b",
        unless: r"\b(altr[ao]|precedente|esistente) (sessione|dispositivo|browser|utente|computer)\b|\bsessione (precedente|esistente)\b|\bgià (conness|collegat)\w*|\b(eliminare|cancellare|rimuovere|pagare|acquistare|inviare|annullare (la|il|lo|questa|questo))\b|\b(vuoi|vuole|desidera|desideri|sicur[oa])\b.{0,25}\b(uscire|disconnetter\w*|terminare)\b|\bannulla\W{0,3} per (continuare|rimanere|restare|mantenere)\b|\bok\W{0,3} per (uscire|disconnetter\w*)\b",
    },
    Language {
        name: "Dutch",
        asks: r"\b(aangemeld|ingelogd|verbonden) (te )?blijven\b|\bblijf (aangemeld|ingelogd)|\bsessie\b.{0,40}\b(verlengen|voortzetten|behouden)\b|\b(verleng|verlengen|voortzetten)\b.{0,30}\bsessie\b|\bnog (steeds )?aanwezig\b",
        expires: r"\bsessie\b.{0,80}\b(verloopt|verlopen|verstrijkt|inactiv\w*|eindigt over|time-?out)\b|\binactiv\w*\b.{0,80}\b(sessie|afgemeld|uitgelogd)\b|\bautomatisch (afgemeld|uitgelogd)\b",
        goes_on: r"\b(blijven|doorgaan|door te gaan|verdergaan|verder|verlengen|voortzetten)\b",
        unless: r"\b(andere?|bestaande|vorige) (sessie|apparaat|browser|gebruiker|computer|plaats)\b|\bal (aangemeld|ingelogd)\b|\b(verwijderen|wissen|betalen|kopen|verzenden)\b|\b(wilt u|wil je|zeker)\b.{0,25}\b(afmelden|uitloggen)\b|\bannuleren\W{0,3} om\b[^,.;]{0,30}\b(blijven|door te gaan|verder)\b|\bok\W{0,3} om (af te melden|uit te loggen)\b",
    },
    Language {
        name: "Polish",
        asks: r"\bpozosta\w* (zalogowan|połączon)\w*|\b(przedłuży|kontynuowa|utrzyma|odnowi|wydłuży)\w*\b.{0,30}\bsesj\w*",
        expires: r"\bsesj\w*\b.{0,80}\b(wyga\w*|upłyn\w*|zakończy się za|nieaktywn\w*|bezczynn\w*)|\b(nieaktywn|bezczynn)\w*\b.{0,80}\b(sesj|wylogowan)\w*|\bautomatycznie wylogowan\w*",
        goes_on: r"\b(kontynuowa|pozosta|przedłuży|utrzyma|odnowi|wydłuży)\w*",
        unless: r"\binn(a|ą|ej|ym|e) (sesj|urządzen|przeglądar|użytkownik|komputer)\w*|\bjuż zalogowan\w*|\b(usunąć|skasować|zapłacić|kupić|wysłać|anulować (rezerwacj|zamówien|termin|wizyt)\w*)\b|\b(chcesz|chce|pewn\w*)\b.{0,25}\bwylogować\b|\banuluj\W{1,3}aby (pozosta|kontynuowa)\w*|\bok\W{1,3}aby się wylogować\b",
    },
    Language {
        name: "Russian",
        asks: r"\bоста(ться|ваться) в системе\b|\b(продлить|продолжить|сохранить)\b.{0,30}\b(сеанс|сесси)\w*",
        expires: r"\b(сеанс|сесси)\w*\b.{0,80}\b(исте\w*|неактивн\w*|бездейств\w*|заверш\w* через)|\b(неактивн|бездейств)\w*\b.{0,80}\b(сеанс|сесси|выход|выйдете)\w*|\bавтоматическ\w* выход",
        goes_on: r"\b(продолж\w*|остаться|продлить|сохранить)\b",
        unless: r"\bдруг(ой|ая|ом|ую) (сеанс|сесси|устройств|браузер|пользовател)\w*|\bдругом\b|\bуже (вошли|выполнен)\w*|\b(удалить|отменить|оплатить|купить|отправить)\b|\b(хотите|уверены)\b.{0,25}\b(выйти|завершить)\b",
    },
    Language {
        name: "Turkish",
        asks: r"\boturum\w*\b.{0,20}\b(açık kal\w*|uzat\w*|sürdür\w*|devam ettir\w*|açık tut\w*)",
        expires: r"\boturum\w*\b.{0,60}\b(süresi dol\w*|sona er\w*|zaman aşım\w*|hareketsiz\w*)",
        goes_on: r"\b(devam|uzat\w*|sürdür\w*|kal\w*)\b",
        unless: r"\bbaşka (bir )?(oturum|cihaz|tarayıcı|kullanıcı|yer)\w*|\bzaten\b|\b(sil|silmek|silinsin|iptal etmek|öde|ödemek|satın al\w*|gönder\w*)\b|\b(çıkış yapmak|oturumu kapat\w*)\b",
    },
    Language {
        name: "Czech",
        asks: r"\bzůstat přihlášen\w*|\b(prodloužit|pokračovat|zachovat|obnovit)\b.{0,30}\b(relac|sezen)\w*|\b(relac|sezen)\w*\b.{0,20}\bprodloužit\b",
        expires: r"\b(relac|sezen|přihlášen)\w*\b.{0,80}\b(vyprš\w*|nečinnost\w*|skončí za)|\bnečinnost\w*\b.{0,80}\b(relac|odhlášen)\w*|\bautomaticky odhlášen\w*",
        goes_on: r"\b(pokračovat|zůstat|prodloužit|zachovat)\b",
        unless: r"\bjin(á|é|ém|ou|ý) (relac|sezen|zařízen|prohlížeč|uživatel)\w*|\bjiž přihlášen\w*|\b(smazat|odstranit|zrušit|zaplatit|koupit|odeslat)\b|\b(chcete|opravdu)\b.{0,25}\bodhlásit\b",
    },
    Language {
        name: "Scandinavian",
        asks: r"\b(förbli|fortsätta vara|forblive?|fortsette å være) (inloggad|logget ind|logget inn|pålogget|innlogget)\b|\b(förläng\w*|forlæng\w*|forleng\w*)\b.{0,30}\b(session|sesjon|økt)\w*|\b(sessionen|sesjonen|økten)\b.{0,20}\b(förläng|forlæng|forleng)\w*",
        expires: r"\b(session|sesjon|økt)\w*\b.{0,80}\b(går ut|utgår|udløber|utløper|löper ut|inaktiv\w*)\b|\binaktiv\w*\b.{0,80}\b(session|sesjon|økt|utloggad|logget (ud|ut))\w*|\bautomatiskt? (utloggad|logget (ud|ut))\b",
        goes_on: r"\b(fortsätta|fortsätt|fortsætte|fortsette|förbli|forblive?|förlänga|forlænge|forlenge)\b",
        unless: r"\b(annan|anden|annen|andra|andre) (session|sesjon|enhet|enhed|webbläsare|browser|nettleser|användare|bruger|bruker)\w*|\b(ta bort|radera|slet|slett|slette|betala|betal|betale|köp|køb|kjøp|skicka)\b|\b(vill du|vil du|säker|sikker)\b.{0,20}\b(logga ut|logge (ud|ut))\b|\bredan inloggad\b|\ballerede logget\b",
    },
    Language {
        name: "Japanese",
        asks: r"(ログイン|サインイン|接続)(した|の)?(状態|まま)?を?(維持|継続|続け|保持)|セッション.{0,20}(延長|継続|維持|続行|続け)",
        expires: r"(セッション|ログイン).{0,40}(期限|切れ|タイムアウト|失効|まもなく終了)|操作がない|自動的に(ログアウト|サインアウト)",
        goes_on: r"続け|続行|継続|延長|維持",
        unless: r"(他|別|ほか)の(セッション|端末|デバイス|ブラウザ|ユーザー|場所)|(既|すで)にログイン|削除|取り消し|取消|支払|購入|注文|送信|破棄|(ログアウト|サインアウト)(しますか|しても|してよろし)|キャンセル.{0,6}(続け|継続|維持|延長)",
    },
    Language {
        name: "Chinese",
        asks: r"(保持|继续|繼續|维持|維持)(您的|你的)?(登录|登入|登錄|会话|會話|连接|連線|在线)|(延长|延長|续期|續期)(您的|你的)?(会话|會話|登录|登入|工作階段)|(会话|會話|登录状态|登入狀態|工作階段).{0,10}(延长|延長|续期|續期)",
        expires: r"(会话|會話|登录|登入|登錄|工作階段|连接|連線).{0,30}(过期|過期|到期|超时|逾時|超時|失效)|长时间(未|没有)操作|長時間(未|沒有)操作|自动(退出|登出|注销)|自動(登出|退出)",
        goes_on: r"继续|繼續|保持|延长|延長|续期|續期",
        unless: r"(其他|其它|另一|别的|別的)(个|個|台)?(会话|會話|设备|設備|裝置|浏览器|瀏覽器|用户|使用者|地方|地点)|已在|删除|刪除|移除|取消(预约|預約|订单|訂單)|付款|支付|购买|購買|提交|(确定|確定|是否|确认|確認)(要)?(退出|注销|登出)",
    },
    Language {
        name: "Korean",
        asks: r"(로그인|세션|접속)( ?상태)?(을|를)? ?(유지|연장)|세션.{0,10}(연장|유지|계속)",
        expires: r"(세션|로그인).{0,40}(만료|시간 ?초과|곧 종료)|자동(으로)? ?로그아웃|(활동|사용|조작)이 없",
        goes_on: r"계속|유지|연장",
        unless: r"(다른|기존) ?(세션|기기|브라우저|사용자|장치|곳|장소)|이미 로그인|삭제|취소하시|결제|구매|주문|제출|로그아웃 ?하시겠",
    },
];

struct Compiled {
    asks: Regex,
    expires: Regex,
    goes_on: Regex,
    unless: Regex,
}

/// A row with a mistake is left out; a test sees that there is none.
static COMPILED: LazyLock<Vec<Compiled>> = LazyLock::new(|| LANGUAGES.iter().filter_map(compile).collect());

fn compile(language: &Language) -> Option<Compiled> {
    let regex = |pattern: &str| match RegexBuilder::new(pattern).case_insensitive(true).build() {
        Ok(regex) => Some(regex),
        Err(error) => {
            debug_assert!(false, "{}: {error}", language.name);
            None
        }
    };
    Some(Compiled {
        asks: regex(language.asks)?,
        expires: regex(language.expires)?,
        goes_on: regex(language.goes_on)?,
        unless: regex(language.unless)?,
    })
}

/// Whether "yes" to this question keeps the session signed in, and means nothing else.
pub(super) fn asks_to_stay(text: &str) -> bool {
    // "Don’t" and "l’appareil" are written with either apostrophe.
    let text = text.replace('\u{2019}', "'");
    let means_else = |language: &Compiled| language.unless.is_match(&text);
    let asks = |language: &Compiled| {
        language.asks.is_match(&text)
            || (language.expires.is_match(&text) && language.goes_on.is_match(&text))
    };
    COMPILED.iter().any(asks) && !COMPILED.iter().any(means_else)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_used() {
        assert_eq!(COMPILED.len(), LANGUAGES.len());
    }

    #[test]
    fn who_is_asked_to_stay_stays() {
        for text in [
            "Your session is about to expire. Stay signed in?",
            "Stay signed in?",
            "You will be logged out in 60 seconds due to inactivity. Do you want to continue?",
            "Your session will time out in 2 minutes. Click OK to continue, or Cancel to log out.",
            "Press OK to stay logged in, Cancel to sign out.",
            "Do you want to extend your session?",
            "You have been idle for 20 minutes and will be signed out soon. Are you still there?",
            "Your login expires in 5 minutes. Unsaved changes will be lost. Continue?",
            "IN ORDER TO REMAIN CONNECTED PRESS OK",
            "Ihre Sitzung läuft in 60 Sekunden ab. Möchten Sie angemeldet bleiben?",
            "Drücken Sie OK, um angemeldet zu bleiben, oder Abbrechen, um sich abzumelden.",
            "Sie werden wegen Inaktivität automatisch abgemeldet. Weiterarbeiten?",
            "Möchten Sie Ihre Sitzung verlängern?",
            "Su sesión está a punto de expirar. ¿Desea continuar?",
            "Su sesión caducará en 2 minutos. ¿Quiere seguir conectado?",
            "¿Desea mantener la sesión abierta?",
            "Votre session va expirer dans 2 minutes. Voulez-vous rester connecté ?",
            "Votre session est sur le point d’expirer. Souhaitez-vous la prolonger ?",
            "Vous allez être automatiquement déconnecté. Continuer ?",
            "Sua sessão vai expirar em 1 minuto. Deseja continuar?",
            "A sua sessão está prestes a expirar. Pretende manter-se ligado?",
            "La sessione sta per scadere. Vuoi rimanere connesso?",
            "Sessione inattiva: desidera prolungare la sessione?",
            "Uw sessie verloopt over 1 minuut. Wilt u ingelogd blijven?",
            "U wordt automatisch afgemeld wegens inactiviteit. Doorgaan?",
            "Twoja sesja wygaśnie za 2 minuty. Czy chcesz kontynuować?",
            "Czy chcesz pozostać zalogowany?",
            "Срок действия сеанса истекает. Продолжить работу?",
            "Хотите продлить сессию?",
            "Oturumunuzun süresi dolmak üzere. Devam etmek istiyor musunuz?",
            "Vaše relace brzy vyprší. Chcete zůstat přihlášeni?",
            "Din session går snart ut: sessionen går ut om 1 minut. Vill du fortsätta?",
            "Din session udløber om 2 minutter. Vil du fortsætte?",
            "セッションの有効期限がまもなく切れます。続けますか？",
            "ログイン状態を維持しますか？",
            "您的会话即将过期，是否继续？",
            "是否保持登录？",
            "您的工作階段即將逾時，要繼續嗎？",
            "세션이 곧 만료됩니다. 계속하시겠습니까?",
            "로그인 상태를 유지하시겠습니까?",
        ] {
            assert!(asks_to_stay(text), "{text}");
        }
    }

    #[test]
    fn what_means_anything_else_is_not_agreed_to() {
        for text in [
            "",
            "Delete the appointment?",
            "Are you sure?",
            "Continue?",
            "Your appointment expires in 5 minutes. Continue?",
            "Do you really want to log out?",
            "Log out? You will stay signed in on your phone.",
            "Sign out now?",
            "You will be logged out. Continue?",
            "This will terminate the session. Continue?",
            "You are signed in elsewhere. End that session and continue?",
            "Another session is active and will be ended. Do you want to continue your session here?",
            "You are already logged in. Continue and close the other session?",
            "Your session is about to expire. Press Cancel to stay signed in or OK to log out.",
            "Your session is about to expire. OK to log out?",
            "Your session expires soon. Submit the form and continue?",
            "Your session will expire. Pay now to stay signed in?",
            "Continue the session and delete the draft?",
            "Termin wirklich löschen?",
            "Möchten Sie sich wirklich abmelden?",
            "Eine andere Sitzung ist aktiv. Sitzung fortsetzen und die andere Sitzung beenden?",
            "Ihre Sitzung läuft ab. Abbrechen, um angemeldet zu bleiben.",
            "¿Desea cerrar la sesión?",
            "Hay otra sesión abierta. ¿Continuar con esta sesión?",
            "Su sesión va a expirar. ¿Desea pagar y continuar?",
            "Voulez-vous vraiment vous déconnecter ?",
            "Une autre session est ouverte. Poursuivre la session ici ?",
            "Supprimer le rendez-vous ?",
            "Deseja realmente sair da sessão?",
            "Excluir o agendamento?",
            "Vuoi uscire dalla sessione?",
            "Eliminare la prenotazione?",
            "Wilt u zich afmelden?",
            "Afspraak verwijderen?",
            "Czy na pewno chcesz się wylogować?",
            "Usunąć rezerwację?",
            "Удалить запись?",
            "Вы уверены, что хотите выйти из сеанса?",
            "ログアウトしますか？",
            "予約を削除しますか？",
            "セッションを終了します。続行しますか？ 予約は削除されます。",
            "确定要退出登录吗？",
            "是否删除预约？",
            "您的账号已在其他设备登录，是否继续登录？",
            "로그아웃 하시겠습니까?",
            "예약을 삭제하시겠습니까?",
            "다른 기기에서 로그인 중입니다. 세션을 계속하시겠습니까?",
        ] {
            assert!(!asks_to_stay(text), "{text}");
        }
    }
}
