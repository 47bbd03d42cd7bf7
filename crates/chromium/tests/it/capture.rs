//! Checkpoints: what one window has, another one in another browser gets.

use std::collections::HashMap;

use pilotlight_cdp::protocol::storage::SetCookies;
use pilotlight_chromium::RestoreFields;
use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::{CustomProfile, Profile};

use pilotlight_checkpoint::{Checkpoint, FieldContent, Tab};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::app::{FILL_DATABASES, evaluate, portal};
use crate::portal::{Answer, Server};
use crate::support::{Fixture, LIMIT, until};

/// As it goes to a file and comes back.
fn stored(checkpoint: &Checkpoint) -> Checkpoint {
    let stored = serde_json::from_slice(&serde_json::to_vec(checkpoint).unwrap()).unwrap();
    assert_eq!(&stored, checkpoint);
    stored
}

const FILL_STORAGE: &str = r"(() => {
    const odd = [['', 'empty key'], ['__proto__', 'proto'], ['length', 'length'], ['schlüssel 🔑', 'wert 💶'],
        ['half', 'a\ud83d'], ['\ude00', '\uffff \ue000'], ['json', '{\'a\':\u2028}'], ['empty', '']];
    for (const [key, value] of odd) localStorage.setItem(key, value);
    for (const [key, value] of odd) sessionStorage.setItem(key, 'session ' + value);
    window.name = 'main <1>';
})()";

const READ_STORAGE: &str = r"(() => {
    const read = (storage) => Array.from({length: storage.length}, (_, index) => storage.key(index))
        .map((key) => [escape(key), escape(storage.getItem(key))]).sort();
    return [read(localStorage), read(sessionStorage), window.name];
})()";

const READ_DATABASES: &str = r"(async () => {
    const result = (request) => new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
    const show = async (value, seen = []) => {
        if (typeof value === 'string') return escape(value);
        if (Object.is(value, -0)) return '-0';
        if (typeof value !== 'object' || value === null) return String(value) + ':' + typeof value;
        if (seen.includes(value)) return 'seen ' + seen.indexOf(value);
        seen.push(value);
        const kind = value.constructor.name;
        const all = async (values) => {
            const shown = [];
            for (const one of values) shown.push(await show(one, seen));
            return shown;
        };
        if (value instanceof Blob) {
            return [kind, value.type, value.name ? escape(value.name) : '', value.lastModified ?? '', escape(await value.text())];
        }
        if (value instanceof CryptoKey) return [kind, value.extractable, await all(value.usages), (await crypto.subtle.exportKey('jwk', value)).k];
        if (ArrayBuffer.isView(value)) return [kind, value.byteOffset, value.byteLength, await show(value.buffer, seen)];
        if (value instanceof ArrayBuffer) return [kind, ...new Uint8Array(value)];
        if (value instanceof Map || value instanceof Set) return [kind, await all([...value].flat())];
        if (value instanceof Date || value instanceof RegExp) return [kind, String(value.valueOf())];
        if (value instanceof Error) return [kind, value.message];
        if (value instanceof String) return [kind, String(value)];
        return [kind, value.length ?? '', Object.keys(value), await all(Object.values(value))];
    };
    const shown = {};
    for (const {name, version} of await indexedDB.databases()) {
        const database = await result(indexedDB.open(name));
        const stores = {};
        for (const storeName of database.objectStoreNames) {
            const store = database.transaction(storeName).objectStore(storeName);
            const indexes = [...store.indexNames].map((index) => store.index(index))
                .map(({name, keyPath, unique, multiEntry}) => [name, keyPath, unique, multiEntry]);
            const [keys, values] = [store.getAllKeys(), store.getAll()].map(result);
            const meta = [store.keyPath, store.autoIncrement, indexes];
            const records = [];
            for (const [index, value] of (await values).entries()) {
                const key = await show((await keys)[index]);
                if (value instanceof CryptoKey) records.push([key, 'unmovable']);
                else records.push([key, JSON.stringify(await show(value))]);
            }
            stores[storeName] = [meta, records];
        }
        database.close();
        shown[name] = [version, stores];
    }
    return JSON.stringify(shown);
})()";

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_window_comes_back_in_another_browser() {
    let portal = portal().await;
    let first = Fixture::start().await;
    let window = first.window().await;
    window.navigate(&portal.url("/login"), LIMIT).await.unwrap();
    // An origin that is left behind, with a database.
    let elsewhere = format!("http://localhost:{}", portal.port);
    window.navigate(&format!("{elsewhere}/app"), LIMIT).await.unwrap();
    evaluate(&window, "localStorage.left = 'behind'").await;
    assert_eq!(evaluate(&window, FILL_DATABASES).await, json!(2));
    let databases = evaluate(&window, READ_DATABASES).await;
    window.navigate(&portal.url("/app?main#part"), LIMIT).await.unwrap();
    evaluate(&window, FILL_STORAGE).await;
    assert_eq!(evaluate(&window, FILL_DATABASES).await, json!(2));
    let own_databases = evaluate(&window, READ_DATABASES).await;
    evaluate(&window, "document.cookie = 'script=1; Path=/app'; scrollTo(30, 1234)").await;
    let type_in = "(() => {
        text.value = 'typed 🔑'; area.value = 'two\\nlines'; plain.checked = true; ticked.checked = false;
        list.value = 'c'; many.options[1].selected = true; document.querySelector('[value=second]').checked = true;
        edit.textContent = 'edited'; nameless.children[1].value = 'nameless';
        for (const field of [password, code, card, hidden, shownPassword]) field.value = 'GEHEIM';
    })()";
    evaluate(&window, type_in).await;
    let storage = evaluate(&window, READ_STORAGE).await;
    evaluate(&window, "void open('/app?second', 'second', 'noopener')").await;
    until("the second tab is there", || window.summary().tabs == 2).await;
    let second = window.pages()[1].target_id.clone();
    in_page(&first, &second, "new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done)).then(() => 0)").await;
    in_page(&first, &second, "sessionStorage.clear(), sessionStorage.tab = 'second', scrollTo(0, 77)").await;

    let partitioned = json!({"name": "chips", "value": "apart", "domain": ".widget.test", "path": "/",
        "secure": true, "sameSite": "None", "priority": "High", "sourceScheme": "Secure", "sourcePort": 443,
        "partitionKey": {"topLevelSite": "https://top.test", "hasCrossSiteAncestor": true}});
    let set =
        SetCookies { cookies: vec![partitioned.clone()], browser_context_id: window.id().as_str().into() };
    first.browser.connection().call(None, set).await.unwrap();

    let begun = Instant::now();
    let checkpoint = window.capture(1_700_000_000_000).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(checkpoint.taken_at_ms, 1_700_000_000_000);
    println!("capture of two tabs, two origins and four databases: {took:?}");
    let checkpoint = stored(&checkpoint);
    assert_eq!(checkpoint.tabs.len(), 2);
    assert_eq!(checkpoint.tabs[0].url, portal.url("/app?main#part"));
    assert_eq!(checkpoint.tabs[0].title, "App");
    let text = serde_json::to_string(&checkpoint).unwrap();
    assert!(!text.contains("GEHEIM"), "a password was taken");
    assert!(text.contains("edited"));
    let fields = &checkpoint.tabs[0].fields;
    assert!(fields.iter().any(|field| field.content == FieldContent::Checked(false)));
    assert!(fields.iter().any(|field| field.content == FieldContent::Selected(vec![0, 1])));
    first.browser.close().await;

    let mut other = Fixture::start().await;
    let window = other.window().await;
    let begun = Instant::now();
    window.restore(&checkpoint, RestoreFields::Silent, LIMIT).await.unwrap();
    println!("restoring it: {:?}", begun.elapsed());
    let pages = window.pages();
    let urls: Vec<_> = pages.iter().map(|page| page.url.clone()).collect();
    assert_eq!(urls, [portal.url("/app?main#part"), portal.url("/app?second")]);
    assert_eq!(evaluate(&window, READ_STORAGE).await, storage);
    assert_eq!(evaluate(&window, "[scrollX, scrollY, history.length]").await, json!([30, 1234, 2]));
    let fields = evaluate(
        &window,
        "[text.value, area.value, plain.checked, ticked.checked, list.value,
            [...many.selectedOptions].map((option) => option.value), edit.textContent,
            document.querySelector('[name=choice]:checked').value, nameless.children[1].value,
            password.value, code.value, card.value, hidden.value, shownPassword.value]",
    )
    .await;
    let wanted = json!([
        "typed 🔑",
        "two\nlines",
        true,
        false,
        "c",
        ["a", "b"],
        "edited",
        "second",
        "nameless",
        "",
        "",
        "",
        "",
        ""
    ]);
    assert_eq!(fields, wanted);
    // Scripts of the page found everything in place before they ran, and were told nothing of the fields.
    let told = "heard.filter((what) => !['focus', 'scroll'].includes(what.trim()))";
    let early = evaluate(&window, &format!("[early, {told}]")).await;
    assert_eq!(early, json!([["8", "8", "main <1>", "2"], []]));
    let in_second =
        in_page(&other, &pages[1].target_id, "sessionStorage.length + sessionStorage.tab + scrollY").await;
    assert_eq!(in_second, json!("1second77"));
    let without_secret = |shown: &Value| -> Value {
        let mut shown: Value = serde_json::from_str(shown.as_str().unwrap()).unwrap();
        let records = shown["things"][1]["odd"][1].as_array_mut().unwrap();
        records.retain(|record| record[1] != json!("unmovable"));
        shown
    };
    let there = evaluate(&window, READ_DATABASES).await;
    assert_eq!(without_secret(&there), without_secret(&own_databases));
    assert!(!there.as_str().unwrap().contains("unmovable"));
    let next = "new Promise((resolve) => { indexedDB.open('things').onsuccess = ({target: {result}}) => {
        const stores = result.transaction(['numbered', 'people'], 'readwrite');
        const number = stores.objectStore('numbered').add('next');
        const person = stores.objectStore('people').add({name: 'Eve'});
        stores.oncomplete = () => { result.close(); resolve([number.result, person.result]); };
    } })";
    assert_eq!(evaluate(&window, next).await, json!([10, 3]), "numbers go on where they were");

    // Nothing that was planted is planted again.
    evaluate(&window, "localStorage.clear(), sessionStorage.clear(), window.name = ''").await;
    window.reload(LIMIT).await.unwrap();
    assert_eq!(
        evaluate(&window, "[localStorage.length, sessionStorage.length, name]").await,
        json!([0, 0, ""])
    );
    window.navigate(&portal.url("/cookie"), LIMIT).await.unwrap();
    let cookies = evaluate(&window, "document.body.innerText").await;
    assert!(cookies.as_str().unwrap().contains("sid=geheim"), "{cookies}");
    window.navigate(&format!("{elsewhere}/app"), LIMIT).await.unwrap();
    assert_eq!(evaluate(&window, "localStorage.left").await, json!("behind"));
    assert_eq!(without_secret(&evaluate(&window, READ_DATABASES).await), without_secret(&databases));
    let again = window.capture(1).await.unwrap();
    let mut cookies: Vec<_> = again.cookies.iter().map(|cookie| cookie.name.as_str()).collect();
    cookies.sort_unstable();
    assert_eq!(cookies, ["chips", "lasting", "script", "sid"]);
    let chips = again.cookies.iter().find(|cookie| cookie.name == "chips").unwrap();
    let mut chips = serde_json::to_value(chips).unwrap();
    assert_eq!(chips.as_object_mut().unwrap().remove("httpOnly"), Some(json!(false)));
    assert_eq!(chips, partitioned);
    let sid = again.cookies.iter().find(|cookie| cookie.name == "sid").unwrap();
    assert!(sid.http_only && sid.expires.is_none() && sid.same_site.as_deref() == Some("Lax"));
    assert!(again.cookies.iter().all(|cookie| (cookie.name == "lasting") == cookie.expires.is_some()));
    assert!(other.events.try_recv().is_err());
    other.browser.close().await;
}

/// Chromium runs what is planted where a page has a script, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_scripts_gets_what_it_had_stored() {
    let portal = portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/cookie"), LIMIT).await.unwrap();
    evaluate(&window, "localStorage.kept = 'local', sessionStorage.kept = 'session', name = 'named'").await;
    let checkpoint = stored(&window.capture(0).await.unwrap());
    window.close().await.unwrap();
    let window = fixture.window().await;
    window.restore(&checkpoint, RestoreFields::Silent, LIMIT).await.unwrap();
    let kept = evaluate(&window, "[localStorage.kept, sessionStorage.kept, name]").await;
    assert_eq!(kept, json!(["local", "session", "named"]));
}

/// Evaluates in one of a window's pages.
async fn in_page(fixture: &Fixture, target: &str, expression: &str) -> Value {
    use pilotlight_cdp::protocol::runtime::Evaluate;
    use pilotlight_cdp::protocol::target::{AttachToTarget, DetachFromTarget};
    let connection = fixture.browser.connection();
    let attach = AttachToTarget { target_id: target.into(), flatten: true };
    let session = connection.call(None, attach).await.unwrap().session_id;
    let evaluate = Evaluate {
        expression: expression.into(),
        context_id: None,
        return_by_value: true,
        await_promise: true,
        user_gesture: false,
    };
    let result = connection.call(Some(&session), evaluate).await.unwrap();
    connection.call(None, DetachFromTarget { session_id: session }).await.unwrap();
    assert!(result.exception_details.is_none(), "{:?}", result.exception_details);
    result.result.value.unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn full_chromium_keeps_and_gets_windows_as_well() {
    let portal = portal().await;
    let first = Fixture::with(Profile::Dense.into(), Engine::Headless, HashMap::new()).await;
    let window = first.window().await;
    let elsewhere = format!("http://localhost:{}", portal.port);
    window.navigate(&format!("{elsewhere}/app"), LIMIT).await.unwrap();
    evaluate(&window, "localStorage.left = 'behind'").await;
    window.navigate(&portal.url("/login"), LIMIT).await.unwrap();
    window.navigate(&portal.url("/app"), LIMIT).await.unwrap();
    evaluate(&window, FILL_STORAGE).await;
    assert_eq!(evaluate(&window, FILL_DATABASES).await, json!(2));
    evaluate(&window, "text.value = 'typed', scrollTo(0, 500)").await;
    let storage = evaluate(&window, READ_STORAGE).await;
    evaluate(&window, "void open('/app?second', '_blank', 'noopener')").await;
    until("the second tab is there", || window.summary().tabs == 2).await;
    let begun = Instant::now();
    let checkpoint = stored(&window.capture(0).await.unwrap());
    println!("capture in full Chromium: {:?}", begun.elapsed());
    assert_eq!(window.pages().len(), 2);
    first.browser.close().await;

    let other = Fixture::with(Profile::Dense.into(), Engine::Headless, HashMap::new()).await;
    let window = other.window().await;
    let begun = Instant::now();
    window.restore(&checkpoint, RestoreFields::Silent, LIMIT).await.unwrap();
    println!("restoring in full Chromium: {:?}", begun.elapsed());
    assert_eq!(evaluate(&window, READ_STORAGE).await, storage);
    assert_eq!(evaluate(&window, "[text.value, scrollY, history.length]").await, json!(["typed", 500, 2]));
    assert!(evaluate(&window, READ_DATABASES).await.as_str().unwrap().contains("numbered"));
    assert_eq!(window.pages()[1].url, portal.url("/app?second"));
    window.navigate(&format!("{elsewhere}/app"), LIMIT).await.unwrap();
    assert_eq!(evaluate(&window, "localStorage.left").await, json!("behind"));
    other.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_notices_nothing_of_a_capture() {
    let portal = portal().await;
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&format!("http://localhost:{}/app", portal.port), LIMIT).await.unwrap();
        window.navigate(&portal.url("/app"), LIMIT).await.unwrap();
        // A page that lies about the objects that we might use.
        let set_up = "(() => {
            for (const kind of [Array, String, Object, Promise, Map, Set, JSON, Storage, IDBFactory, IDBRequest]) {
                const target = kind.prototype ?? kind;
                for (const key of Object.getOwnPropertyNames(target)) {
                    const property = Object.getOwnPropertyDescriptor(target, key);
                    if (property.configurable && typeof property.value === 'function' && key !== 'constructor'
                        && kind === Storage | kind === IDBFactory) {
                        Object.defineProperty(target, key, {value: () => { throw new Error('caught ' + key); }});
                    }
                }
            }
            new MutationObserver((changes) => heard.push('mutation ' + changes.length))
                .observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
            text.focus();
            heard.length = 0;
            window.globals = Object.getOwnPropertyNames(window).length;
        })()";
        evaluate(&window, set_up).await;
        let seen = "[heard, document.visibilityState, document.hasFocus(), document.activeElement.id,
            Object.getOwnPropertyNames(window).length - globals, history.length]";
        let before = evaluate(&window, seen).await;
        // Full Chromium fetches a page's icon when it gets round to it.
        let fetched = || {
            let requests = portal.requests.lock().unwrap();
            requests.iter().filter(|request| request.target != "/favicon.ico").count()
        };
        let requests = fetched();
        let mut summaries = window.watch_summary();
        summaries.mark_unchanged();
        for _ in 0..3 {
            let checkpoint = window.capture(0).await.unwrap();
            assert_eq!(checkpoint.tabs.len(), 1);
        }
        assert_eq!(evaluate(&window, seen).await, before, "{engine}");
        assert_eq!(before[0], json!([]));
        assert_eq!(fetched(), requests, "{engine}: nothing is fetched");
        assert!(!summaries.has_changed().unwrap(), "{engine}: hidden pages are no pages");
        assert_eq!(window.pages().len(), 1);
        fixture.browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_worker_does_not_serve_what_reads_its_origin() {
    let site = Server::start(|request| match request.target.as_str() {
        "/worker.js" => Some(Answer {
            status: "200 OK",
            headers: vec!["Content-Type: text/javascript".into()],
            body: "onactivate = (event) => event.waitUntil(clients.claim());
                onfetch = (event) => event.respondWith(new Response(
                    '<script>localStorage.served = 1; fetch(\"/served\")</script>', {headers: {'Content-Type': 'text/html'}}));"
                .into(),
        }),
        _ => Some(Answer::html("<!doctype html><title>Site</title>")),
    })
    .await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&site.url("/"), LIMIT).await.unwrap();
    let register = "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(() => { localStorage.kept = 1; })";
    evaluate(&window, register).await;
    window.navigate(&format!("http://localhost:{}/", site.port), LIMIT).await.unwrap();
    let requests = site.requests.lock().unwrap().len();
    let checkpoint = window.capture(0).await.unwrap();
    let origin = checkpoint.origins.iter().find(|origin| origin.origin == site.url("")).unwrap();
    let names: Vec<_> = origin.local_storage.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(site.requests.lock().unwrap().len(), requests);
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_other_sites_keep_their_session_storage() {
    let portal = portal().await;
    let frame = format!(
        "new Promise((done) => {{ const frame = document.createElement('iframe'); frame.onload = done;
            frame.src = 'http://localhost:{}/frame'; document.body.append(frame); }}).then(() => 1)",
        portal.port
    );
    let with_frame = Server::start(move |_| {
        Some(Answer::html(format!("<!doctype html><title>Frames</title><body><script>{frame}</script>")))
    })
    .await;
    let inside = format!("http://localhost:{}", portal.port);
    for (engine, site_isolation) in [(Engine::HeadlessShell, None), (Engine::Headless, Some(true))] {
        let profile = CustomProfile { site_isolation, ..Profile::Dense.into() };
        let first = Fixture::with(profile.clone(), engine, HashMap::new()).await;
        let window = first.window().await;
        window.navigate(&with_frame.url("/"), LIMIT).await.unwrap();
        let scope =
            pilotlight_flow::page::Scope { target: Some(format!("{inside}/frame")), frame: Vec::new() };
        use pilotlight_flow::page::Page;
        Page::evaluate(&window, &scope, "sessionStorage.inside = 'kept'").await.unwrap();
        let checkpoint = window.capture(0).await.unwrap();
        let kept: Vec<_> = checkpoint.tabs[0].session_storage.iter().map(|kept| &*kept.origin).collect();
        assert_eq!(kept, [&inside], "{engine}");
        first.browser.close().await;

        let other = Fixture::with(profile, engine, HashMap::new()).await;
        let window = other.window().await;
        window.restore(&checkpoint, RestoreFields::Silent, LIMIT).await.unwrap();
        let deadline = Instant::now() + LIMIT;
        let value = loop {
            match Page::evaluate(&window, &scope, "sessionStorage.inside ?? ''").await {
                Ok(value) => break value,
                Err(error) => assert!(Instant::now() < deadline, "{engine}: {error}"),
            }
        };
        assert_eq!(value, json!("kept"), "{engine}");
        other.browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_cards_are_not_taken() {
    let secret = [
        "cardnumber",
        "card_number",
        "creditCardNumber",
        "cardNo",
        "ccnum",
        "cc-num",
        "cvv",
        "cvv2",
        "x_cvc_1",
        "CVC",
        "security_code",
        "securityCode",
        "user_otp",
        "otp1",
        "smsTAN",
        "pin",
        "userPIN",
        "PINCode",
        "ssn",
        "passcode",
        "pwd2",
        "social-security",
    ];
    let open =
        ["shipping", "spinner", "discardnumber", "opinion", "cardinal", "standard", "accnumber", "cc_list"];
    let inputs = |names: &[&str]| names.iter().map(|name| format!("<input name={name}>")).collect::<String>();
    let body = format!(
        "<!doctype html><title>Form</title>{}{}<label>Card number <input id=a></label><label for=b>PIN</label>
        <input id=b><input id=c placeholder='CVC'><input id=d aria-label='Security code'>
        <input class=value id=e><textarea class=value id=f></textarea><input class=value id=g>",
        inputs(&secret),
        inputs(&open)
    );
    let site = Server::start(move |_| Some(Answer::html(body.clone()))).await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&site.url("/"), LIMIT).await.unwrap();
    // The well-known number for tests; one digit more or other makes it any number.
    let fill = "for (const field of document.querySelectorAll('input')) field.value = 'typed';
        e.value = '4111 1111 1111 1111'; f.value = '4111-1111-1111-1111'; g.value = '4111111111111112'";
    evaluate(&window, fill).await;
    let fields = window.capture(0).await.unwrap().tabs.remove(0).fields;
    let taken: Vec<_> = fields.into_iter().map(|field| field.selector).collect();
    let wanted = open.iter().map(|name| format!("input[name=\"{name}\"]")).chain(["#g".to_owned()]);
    assert_eq!(taken, wanted.collect::<Vec<_>>());
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_window_is_given_to_its_own_site_alone() {
    let other =
        Server::start(|_| Some(Answer::html("<!doctype html><script>found = window.name</script>"))).await;
    let login = other.url("/login");
    let site = Server::start(move |request| match request.target.as_str() {
        "/out" => Some(Answer {
            status: "302 Found",
            headers: vec![format!("Location: {login}")],
            body: String::new(),
        }),
        _ => Some(Answer::html("<!doctype html><script>found = window.name</script>")),
    })
    .await;
    let fixture = Fixture::start().await;
    for (path, wanted) in [("/", "kept"), ("/out", "")] {
        let tab = Tab { url: site.url(path), name: "kept".into(), ..Tab::default() };
        let checkpoint = Checkpoint { tabs: vec![tab], ..Checkpoint::default() };
        let fresh = fixture.window().await;
        fresh.restore(&checkpoint, RestoreFields::Silent, LIMIT).await.unwrap();
        assert_eq!(evaluate(&fresh, "found").await, json!(wanted), "{path}");
    }
    fixture.browser.close().await;
}
