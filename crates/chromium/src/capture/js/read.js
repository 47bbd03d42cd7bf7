// Reads what a document has stored and what it shows. Changes nothing, opens no database that is not there.

const entriesOf = (storage) =>
    Array.from({length: storage.length}, (_, index) => storage.key(index))
        .map((key) => ({name: toText(key), value: toText(storage.getItem(key) ?? '')}));

// Storage is refused to documents without an origin.
const orNothing = (read) => {
    try {
        return read();
    } catch {
        return [];
    }
};

const settled = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = (event) => {
        event.preventDefault();
        reject(request.error);
    };
});

const openExisting = (name) => {
    const request = indexedDB.open(name);
    // Gone since it was listed: it must not come to be again.
    request.onupgradeneeded = () => request.transaction.abort();
    return settled(request);
};

// How much a text takes at most in Chromium's answer, in bytes: JSON in JSON in JSON, where quotes are escaped
// again each time and most of what is not ASCII comes as numbers.
const weightOf = (text) => {
    let weight = text.length;
    for (let at = 0; at < text.length; at += 1) {
        const code = text.charCodeAt(at);
        if (code === 0x22 || code === 0x5c) weight += 3;
        else if (code < 0x20 || code > 0x7e) weight += 5;
    }
    return weight;
};

// A database comes whole or not at all, but for records that cannot be moved. Gives its weight as well.
const readDatabase = async (name, limits, budget) => {
    const database = await openExisting(name);
    database.onversionchange = () => database.close();
    try {
        let size = 0;
        let records = 0;
        const grow = (length) => {
            size += length;
            if (size > Math.min(limits.databaseSize, budget)) throw new RangeError('too large');
        };
        const names = [...database.objectStoreNames];
        const transaction = names.length ? database.transaction(names, 'readonly') : null;
        const pending = [];
        const stores = await Promise.all(names.map(async (storeName) => {
            const store = transaction.objectStore(storeName);
            const described = {name: toText(storeName), autoIncrement: store.autoIncrement, records: []};
            if (Array.isArray(store.keyPath)) described.keyPathArray = store.keyPath.map(toText);
            else if (store.keyPath !== null) described.keyPath = toText(store.keyPath);
            described.indexes = [...store.indexNames].map((indexName) => {
                const {keyPath, multiEntry, unique} = store.index(indexName);
                const path = Array.isArray(keyPath) ? {keyPathArray: keyPath.map(toText)} : {keyPath: toText(keyPath)};
                return {name: toText(indexName), multiEntry, unique, ...path};
            });
            let range = null;
            for (;;) {
                const [keys, values] = await Promise.all([
                    settled(store.getAllKeys(range, limits.batch)),
                    settled(store.getAll(range, limits.batch)),
                ]);
                records += keys.length;
                if (records > limits.records) throw new RangeError('too many records');
                keys.forEach((key, index) => {
                    const add = (record, later) => {
                        if (later.length) pending.push(Promise.all(later).then(() => record, () => null));
                        else pending.push(record);
                        described.records.push(pending.length - 1);
                    };
                    const record = {};
                    const later = [];
                    const put = (as, value) => {
                        if (isPlain(value)) {
                            record[as] = value;
                            grow(weightOf(JSON.stringify(value)));
                            return;
                        }
                        const node = encoder(later, grow)(value);
                        grow(weightOf(JSON.stringify(node)));
                        record[as + 'Encoded'] = node;
                    };
                    try {
                        if (store.keyPath === null) put('key', key);
                        put('value', values[index]);
                    } catch (error) {
                        if (error instanceof RangeError && error.message === 'too large') throw error;
                        return;
                    }
                    add(record, later);
                });
                if (keys.length < limits.batch) break;
                range = IDBKeyRange.lowerBound(keys.at(-1), true);
            }
            return described;
        }));
        const all = await Promise.all(pending);
        for (const store of stores) {
            store.records = store.records.map((index) => all[index]).filter(Boolean).map((record) => {
                // As text: other parsers refuse what is nested deeply.
                for (const as of ['keyEncoded', 'valueEncoded']) {
                    if (as in record) record[as] = JSON.stringify(record[as]);
                }
                return record;
            });
        }
        return {database: {name: toText(name), version: database.version, stores}, size};
    } finally {
        database.close();
    }
};

const readDatabases = async (limits) => {
    const listed = await Promise.resolve().then(() => indexedDB.databases()).catch(() => []);
    const read = [];
    let left = 0;
    let size = 0;
    for (const {name} of listed.slice(0, limits.databases)) {
        const reading = readDatabase(name, limits, limits.budget - size);
        await reading.then((one) => {
            read.push(one.database);
            size += one.size;
        }, () => { left += 1; });
    }
    return {read, size, left: left + Math.max(0, listed.length - limits.databases)};
};

// Our own notes on this document: fields that have ever shown dots, and who waits for a change.
const notes = globalThis.pilotlightNotes ??= {secrets: new WeakSet(), told: null};

// From now on the next scroll or input is told. Gives whether nobody waits for that yet.
const watch = () => {
    if (notes.told) return false;
    notes.told = new Promise((resolve) => {
        const kinds = ['scroll', 'input', 'change'];
        const tell = (event) => {
            if (event.type === 'scroll' && event.target !== document) return;
            notes.told = null;
            for (const kind of kinds) removeEventListener(kind, tell, true);
            resolve(0);
        };
        for (const kind of kinds) addEventListener(kind, tell, {capture: true, passive: true});
    });
    return true;
};

const isUnique = (selector) => document.querySelectorAll(selector).length === 1;

const selectorOf = (element) => {
    const byId = (node) => node.id && isUnique('#' + CSS.escape(node.id)) ? '#' + CSS.escape(node.id) : null;
    const own = byId(element);
    if (own) return own;
    if (element.name) {
        const tag = CSS.escape(element.localName);
        let named = `${tag}[name="${CSS.escape(element.name)}"]`;
        if (['radio', 'checkbox'].includes(element.type)) named += `[value="${CSS.escape(element.value)}"]`;
        if (isUnique(named)) return named;
    }
    const parts = [];
    for (let node = element; node; node = node.parentElement) {
        const id = byId(node);
        if (id) {
            parts.unshift(id);
            break;
        }
        let place = 1;
        for (let other = node.previousElementSibling; other; other = other.previousElementSibling) {
            if (other.localName === node.localName) place += 1;
        }
        parts.unshift(`${CSS.escape(node.localName)}:nth-of-type(${place})`);
    }
    const path = parts.join(' > ');
    return isUnique(path) ? path : null;
};

const NEVER = ['password', 'file', 'hidden', 'submit', 'button', 'image', 'reset'];
const SECRET = /^(current-password|new-password|one-time-code|cc-.*)$/;
// Of words in small letters with a blank between them.
const SECRET_WORDS = new RegExp([
    'passw', 'pwd', 'pass ?(code|phrase)', '(?<!dis)card ?(num|nr\\b|no\\b)', '(security|verification|one ?time|pin) ?code',
    '\\bcc ?(num|nr\\b|no\\b|exp|csc|cvc|cvv)', '\\b(otp|totp|pin|ssn|cvv|cvc|csc|cvn|tan|ccn)\\b', 'social ?security',
].join('|'));
// The longest name or label that is looked at, in UTF-16 units.
const LABEL_TEXT_MAX = 200;

const wordsOf = (text) => String(text ?? '').slice(0, LABEL_TEXT_MAX)
    .replace(/(\p{Ll})(?=\p{Lu})|(\p{Lu})(?=\p{Lu}\p{Ll})/gu, '$& ')
    .toLowerCase().replace(/[^\p{L}]+/gu, ' ');

// Whether it is the number of a payment card: its last digit is a check (Luhn).
const isCardNumber = (text) => {
    const digits = text.replace(/[\s-]/g, '');
    if (!/^\d{13,19}$/.test(digits)) return false;
    const sum = [...digits].reverse().map((digit, place) => digit * (1 + place % 2))
        .reduce((all, value) => all + (value > 9 ? value - 9 : value), 0);
    return sum % 10 === 0;
};

const isSecret = (element) => {
    if (element.type === 'password') notes.secrets.add(element);
    if (notes.secrets.has(element)) return true;
    const purpose = (element.getAttribute('autocomplete') ?? '').toLowerCase().split(/\s+/);
    if (purpose.some((token) => SECRET.test(token))) return true;
    const names = ['name', 'id', 'aria-label', 'placeholder'].map((name) => element.getAttribute(name));
    const labels = [...element.labels ?? []].map((label) => label.textContent);
    return [...names, ...labels].some((text) => SECRET_WORDS.test(wordsOf(text)));
};

// What differs from what the document came with; nothing where it does not.
const contentOf = (element) => {
    if (element instanceof HTMLSelectElement) {
        const options = [...element.options];
        const chosen = options.flatMap((option, index) => option.selected ? [index] : []);
        let initial = options.flatMap((option, index) => option.defaultSelected ? [index] : []);
        if (!element.multiple && element.size <= 1) {
            const first = options.findIndex((option) => !option.disabled);
            initial = initial.length ? initial.slice(-1) : first < 0 ? [] : [first];
        }
        return String(chosen) === String(initial) ? null : {selected: chosen};
    }
    if (element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement) {
        if (['checkbox', 'radio'].includes(element.type)) {
            return element.checked === element.defaultChecked ? null : {checked: element.checked};
        }
        return element.value === element.defaultValue ? null : {value: toText(element.value)};
    }
    // Of what may be edited only plain text: everything else belongs to an editor's own script.
    const isSimple = element.isContentEditable && !element.firstElementChild && element.textContent.trim();
    return isSimple ? {value: toText(element.textContent)} : null;
};

const readFields = (limits) => {
    const fields = [];
    for (const element of document.querySelectorAll('input, textarea, select, [contenteditable]')) {
        if (fields.length >= limits.fields) break;
        if (isSecret(element) || NEVER.includes(element.type) || element.disabled) continue;
        const content = contentOf(element);
        if (!content || (content.value?.length ?? 0) > limits.text || isCardNumber(content.value ?? '')) continue;
        const selector = selectorOf(element);
        if (selector) fields.push({selector: toText(selector), content});
    }
    return fields;
};

const readPage = (limits) => ({
    watch: watch(),
    url: location.href,
    title: toText(document.title),
    name: toText(window.name),
    scroll: [scrollX, scrollY],
    fields: orNothing(() => readFields(limits)),
});
