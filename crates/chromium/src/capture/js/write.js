// Puts into an origin what a checkpoint says that it had stored.

const fillStorage = (storage, entries) => {
    for (const {name, value} of entries) {
        try {
            storage.setItem(fromText(name), fromText(value));
        } catch {
            // Full: what fitted stays.
        }
    }
};

const decoded = async (record, as) => {
    if (as in record) return record[as];
    const node = record[as + 'Encoded'];
    if (node === undefined) return undefined;
    const later = [];
    const value = await decoder(later)(JSON.parse(node));
    await Promise.all(later);
    return value;
};

const keyPathOf = ({keyPath, keyPathArray}) =>
    keyPathArray ? keyPathArray.map(fromText) : keyPath === undefined ? null : fromText(keyPath);

// The next number that a store gives out, where that is more than what follows from its records.
const advance = (store, next) => {
    if (!(next > 1 && next <= Number.MAX_SAFE_INTEGER)) return;
    const key = next - 1;
    const has = store.count(key);
    has.onsuccess = () => {
        if (has.result) return;
        if (store.keyPath === null) {
            store.add(0, key);
        } else {
            const value = {};
            const steps = store.keyPath.split('.');
            const last = steps.pop();
            steps.reduce((held, step) => held[step] = {}, value)[last] = key;
            store.add(value);
        }
        store.delete(key);
    };
};

const writeDatabase = async (description) => {
    const stores = await Promise.all(description.stores.map(async (store) => ({
        ...store,
        records: await Promise.all(store.records.map(async (record) => {
            try {
                return {key: await decoded(record, 'key'), value: await decoded(record, 'value')};
            } catch {
                return null;
            }
        })),
    })));
    await new Promise((resolve, reject) => {
        const request = indexedDB.open(fromText(description.name), description.version);
        request.onupgradeneeded = () => {
            for (const described of stores) {
                const keyPath = keyPathOf(described);
                const store = request.result.createObjectStore(fromText(described.name),
                    {keyPath, autoIncrement: described.autoIncrement});
                for (const record of described.records.filter(Boolean)) {
                    try {
                        const adding = keyPath === null ? store.add(record.value, record.key) : store.add(record.value);
                        adding.onerror = (event) => {
                            event.preventDefault();
                            event.stopPropagation();
                        };
                    } catch {
                        // Not as this store wants it; the others are.
                    }
                }
                if (described.autoIncrement) advance(store, described.keyGenerator);
                for (const index of described.indexes) {
                    store.createIndex(fromText(index.name), keyPathOf(index),
                        {unique: index.unique, multiEntry: index.multiEntry});
                }
            }
        };
        request.onsuccess = () => {
            request.result.close();
            resolve();
        };
        request.onblocked = request.onerror = () => reject(request.error ?? new Error('blocked'));
    });
};

// Gives how many databases could not be put back.
const writeOrigin = async ({localStorage: entries, indexedDB: databases = []}) => {
    fillStorage(localStorage, entries);
    const written = await Promise.allSettled(databases.map(writeDatabase));
    return written.filter(({status}) => status === 'rejected').length;
};
