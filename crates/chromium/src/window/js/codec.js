// What JSON or UTF-8 cannot say, said in them. Runs in our own world of a page: the page's changes to
// built-in objects do not reach it.

// Half a surrogate pair, which storage may hold and UTF-8 may not, becomes U+FFFF and a private character.
const toText = (text) =>
    text.replace(/\uffff|[\ud800-\udfff]/gu, (half) =>
        '\uffff' + (half === '\uffff' ? half : String.fromCharCode(half.charCodeAt(0) + 0x800)));
const fromText = (text) =>
    text.replace(/\uffff([\ue000-\ue7ff\uffff])/g, (_, half) =>
        half === '\uffff' ? half : String.fromCharCode(half.charCodeAt(0) - 0x800));

const toBase64 = (buffer) => {
    const bytes = new Uint8Array(buffer);
    let text = '';
    for (let at = 0; at < bytes.length; at += 0x8000) {
        text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
    }
    return btoa(text);
};
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;

// Whether JSON gives back the very same: no sharing, no cycles, nothing that other parsers round, refuse or
// sort.
const PLAIN_DEPTH_MAX = 32;
const isPlain = (value, seen = new Set(), depth = 0) => {
    if (value === null || typeof value === 'boolean') return true;
    if (typeof value === 'number') return Number.isSafeInteger(value) && !Object.is(value, -0);
    if (typeof value === 'string') return toText(value) === value;
    if (typeof value !== 'object' || seen.has(value) || depth > PLAIN_DEPTH_MAX) return false;
    seen.add(value);
    const keys = Object.keys(value);
    if (Array.isArray(value)) {
        if (keys.length !== value.length || keys.some((key, index) => key !== String(index))) return false;
    } else if (Object.getPrototypeOf(value) !== Object.prototype) {
        return false;
    }
    const isSorted = Array.isArray(value) || keys.every((key, index) => index === 0 || keys[index - 1] < key);
    return isSorted && keys.every((key) =>
        key !== '__proto__' && toText(key) === key && isPlain(value[key], seen, depth + 1));
};

// What cannot be moved throws. `size` takes the length of what is read later, `later` the reading itself.
const encoder = (later, size) => {
    const seen = new Map();
    const soon = (promise) => {
        // Whoever awaits `later` hears of a failure; where nobody comes to that, nobody shall.
        promise.catch(() => {});
        later.push(promise);
    };
    const encode = (value) => {
        switch (typeof value) {
            case 'string': return toText(value);
            case 'boolean': return value;
            case 'undefined': return {v: 'undefined'};
            case 'bigint': return {n: String(value)};
            case 'number':
                if (Object.is(value, -0)) return {v: '-0'};
                return Number.isFinite(value) ? value : {v: String(value)};
            case 'object': break;
            default: throw new TypeError('cannot be moved');
        }
        if (value === null) return null;
        if (seen.has(value)) return {ref: seen.get(value)};
        const id = seen.size;
        seen.set(value, id);
        const properties = () => Object.keys(value).map((key) => [toText(key), encode(value[key])]);
        if (Array.isArray(value)) return {id, a: value.length, o: properties()};
        if (ArrayBuffer.isView(value)) {
            const kind = Object.prototype.toString.call(value).slice(8, -1);
            return {id, t: [kind, encode(value.buffer), value.byteOffset, value.length ?? value.byteLength]};
        }
        switch (Object.prototype.toString.call(value).slice(8, -1)) {
            case 'Object':
                if (Object.getPrototypeOf(value) !== Object.prototype) break;
                return {id, o: properties()};
            case 'Date': return {id, d: Number.isNaN(value.getTime()) ? null : value.getTime()};
            case 'RegExp': return {id, r: [toText(value.source), value.flags]};
            case 'Map': return {id, m: [...value].map(([key, held]) => [encode(key), encode(held)])};
            case 'Set': return {id, s: [...value].map(encode)};
            case 'ArrayBuffer': return {id, b: toBase64(value)};
            case 'Boolean': case 'Number': case 'String': case 'BigInt': return {id, w: encode(value.valueOf())};
            case 'Error': return {id, e: [value.name, value.message, value.stack].map((text) => encode(text))};
            case 'Blob': case 'File': {
                size(Math.ceil(value.size * 4 / 3));
                const node = {id, l: [value.type, null]};
                if (value instanceof File) node.l.push(toText(value.name), value.lastModified);
                soon(value.arrayBuffer().then((buffer) => { node.l[1] = toBase64(buffer); }));
                return node;
            }
            case 'CryptoKey': {
                if (!value.extractable) break;
                const node = {id, c: [null, encode(value.algorithm), [...value.usages]]};
                soon(crypto.subtle.exportKey('jwk', value).then((key) => { node.c[0] = key; }));
                return node;
            }
        }
        throw new TypeError('cannot be moved');
    };
    return encode;
};

const decoder = (later) => {
    const known = new Map();
    const errors = {Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError};
    const fill = (target, properties) => {
        for (const [key, held] of properties) {
            const place = (value) => Object.defineProperty(target, fromText(key),
                {value, writable: true, enumerable: true, configurable: true});
            const value = decode(held);
            if (value instanceof Promise) later.push(value.then(place));
            else place(value);
        }
        return target;
    };
    const decode = (node) => {
        if (typeof node === 'string') return fromText(node);
        if (node === null || typeof node !== 'object') return node;
        if ('ref' in node) return known.get(node.ref);
        if ('v' in node) return node.v === 'undefined' ? undefined : Number(node.v);
        if ('n' in node) return BigInt(node.n);
        const keep = (value) => (known.set(node.id, value), value);
        if ('a' in node) return fill(keep(new Array(node.a)), node.o);
        if ('o' in node) return fill(keep({}), node.o);
        if ('d' in node) return keep(new Date(node.d ?? NaN));
        if ('r' in node) return keep(new RegExp(fromText(node.r[0]), node.r[1]));
        if ('m' in node) {
            const map = keep(new Map());
            for (const [key, held] of node.m) map.set(decode(key), decode(held));
            return map;
        }
        if ('s' in node) {
            const set = keep(new Set());
            for (const held of node.s) set.add(decode(held));
            return set;
        }
        if ('b' in node) return keep(fromBase64(node.b));
        if ('t' in node) return keep(new globalThis[node.t[0]](decode(node.t[1]), node.t[2], node.t[3]));
        if ('w' in node) return keep(Object(decode(node.w)));
        if ('e' in node) {
            const [name, message, stack] = node.e.map(decode);
            return keep(Object.assign(new (errors[name] ?? Error)(message), {stack}));
        }
        if ('l' in node) {
            const [type, text, name, lastModified] = node.l;
            const content = [fromBase64(text)];
            return keep(name === undefined
                ? new Blob(content, {type})
                : new File(content, fromText(name), {type, lastModified}));
        }
        if ('c' in node) {
            // Known at once by its promise; whoever holds it is told later.
            const [key, algorithm, usages] = node.c;
            return keep(crypto.subtle.importKey('jwk', key, decode(algorithm), true, usages));
        }
        throw new TypeError('unknown');
    };
    return decode;
};
