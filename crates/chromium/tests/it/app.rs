//! The page that captures are tested with: it has all kinds of fields, and notes everything that happens to it.

use pilotlight_chromium::Window;
use serde_json::Value;

use crate::portal::{Answer, Server};
use crate::support::LIMIT;

const APP: &str = include_str!("app.html");

/// A portal whose pages note everything that happens to them.
pub(crate) async fn portal() -> Server {
    Server::start(|request| match request.target.as_str() {
        "/login" => Some(Answer {
            headers: vec![
                "Content-Type: text/html".into(),
                "Set-Cookie: sid=geheim; Path=/; HttpOnly; SameSite=Lax".into(),
                "Set-Cookie: lasting=1; Path=/; Max-Age=86400".into(),
            ],
            ..Answer::html("<!doctype html><title>Login</title>")
        }),
        "/cookie" => Some(Answer::html(request.header("cookie").unwrap_or("none"))),
        path if path.ends_with(".ico") => Some(Answer { status: "404 Not Found", ..Answer::html("") }),
        "/hang" => Some(Answer::html("<!doctype html><title>Hang</title>")),
        _ => Some(Answer::html(APP)),
    })
    .await
}

pub(crate) async fn evaluate(window: &Window, expression: &str) -> Value {
    window.evaluate(expression, LIMIT).await.unwrap()
}

/// Two databases with all kinds of values and keys.
pub(crate) const FILL_DATABASES: &str = r#"(async () => {
    const open = (name, version, upgrade) => new Promise((resolve, reject) => {
        const request = indexedDB.open(name, version);
        request.onupgradeneeded = () => upgrade(request.result);
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
    const done = (transaction) => new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
    const secret = await crypto.subtle.generateKey({name: 'AES-GCM', length: 256}, false, ['encrypt']);
    const open_key = await crypto.subtle.generateKey({name: 'AES-GCM', length: 256}, true, ['encrypt', 'decrypt']);
    const database = await open('things', 7, (database) => {
        database.createObjectStore('odd');
        const people = database.createObjectStore('people', {keyPath: 'id', autoIncrement: true});
        people.createIndex('by name', 'name', {unique: true});
        people.createIndex('by tags', 'tags', {multiEntry: true});
        people.createIndex('by both', ['name', 'age']);
        database.createObjectStore('numbered', {autoIncrement: true});
        database.createObjectStore('compound', {keyPath: ['a', 'b.c']});
    });
    const transaction = database.transaction([...database.objectStoreNames], 'readwrite');
    const odd = transaction.objectStore('odd');
    const cycle = {name: 'cycle', list: []};
    cycle.list.push(cycle, new Map([[cycle, new Set([1, cycle])]]));
    const buffer = new Uint8Array([0, 1, 2, 255]).buffer;
    const sparse = [1, , 3];
    sparse.extra = 'x';
    let deep = null;
    for (let depth = 0; depth < 400; depth += 1) deep = {deep};
    const values = {
        plain: {a: [1, 'two', true, null], b: {c: 'd'}}, undefined, nan: NaN, infinity: -Infinity, zero: -0,
        fraction: 0.1 + 0.2, big: 123456789012345678901234567890n, date: new Date(1.5e12), never: new Date(NaN),
        regexp: /a\/b/giu, cycle, sparse, buffer, shared: [new Uint16Array(buffer, 2, 1), new DataView(buffer, 1, 2)],
        float: new Float64Array([1.5, NaN]), blob: new Blob(['blöb'], {type: 'text/plain'}),
        file: new File(['file'], 'näme.txt', {type: 'text/x', lastModified: 1234}), error: new RangeError('out'),
        boxed: Object('boxed'), proto: JSON.parse('{"__proto__": 1}'), half: 'x\ud83d', deep,
        key: {inside: open_key}, secret,
    };
    for (const [key, value] of Object.entries(values)) odd.put(value, key);
    for (const key of [1, -1.5, new Date(5), 'text', [1, ['two', new Date(7)]], new Uint8Array([9]).buffer, Infinity]) {
        odd.put('keyed', key);
    }
    const people = transaction.objectStore('people');
    people.add({name: 'Ada', age: 36, tags: ['math', 'code']});
    people.add({name: 'Bob', age: 40, tags: ['code']});
    const numbered = transaction.objectStore('numbered');
    for (let number = 1; number <= 9; number += 1) numbered.add('number ' + number);
    numbered.delete(IDBKeyRange.lowerBound(4));
    transaction.objectStore('compound').add({a: 1, b: {c: 'x'}, rest: true});
    await done(transaction);
    database.close();
    (await open('empty', 1, () => {})).close();
    return (await indexedDB.databases()).length;
})()"#;
