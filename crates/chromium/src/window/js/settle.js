// Brings a loaded page to where it was: its fields, then its scroll position. A page that is still growing is
// given `wait` milliseconds; what does not fit then is left.
//
// Fields are filled in as browsers do it themselves, without `input`, `change` or `click`: a page that acts on
// them would send something that nobody asked for. Only where `how` is `events` it is told. Scrolling fires
// `scroll`, as it does wherever a browser restores it.

const say = (element, ...kinds) => {
    for (const kind of kinds) element.dispatchEvent(new Event(kind, {bubbles: true}));
};

// Whether it is done: false where the field is not there yet.
const fillField = ({selector, content}, tells) => {
    const found = document.querySelectorAll(fromText(selector));
    if (found.length !== 1) return false;
    const element = found[0];
    if (['password', 'file', 'hidden'].includes(element.type)) return true;
    let changed = true;
    if ('selected' in content) {
        if (!(element instanceof HTMLSelectElement)) return true;
        if (content.selected.some((index) => index >= element.options.length)) return false;
        const before = [...element.options].map((option) => option.selected);
        [...element.options].forEach((option, index) => { option.selected = content.selected.includes(index); });
        changed = [...element.options].some((option, index) => option.selected !== before[index]);
    } else if ('checked' in content) {
        if (element.checked === content.checked) return true;
        // A click is what scripts listen for.
        if (tells) element.click();
        changed = element.checked !== content.checked;
        element.checked = content.checked;
    } else {
        const text = fromText(content.value);
        const holds = 'value' in element ? 'value' : 'textContent';
        if (holds === 'textContent' && !element.isContentEditable) return true;
        changed = element[holds] !== text;
        if (changed) element[holds] = text;
    }
    if (tells && changed) say(element, 'input', 'change');
    return true;
};

const settle = async ({url, fields, how, scroll: [left, top], wait}) => {
    const {origin, pathname} = new URL(url);
    if (location.origin !== origin || location.pathname !== pathname) return;
    const end = performance.now() + wait;
    let missing = fields;
    let scrolled = left === 0 && top === 0;
    for (;;) {
        missing = missing.filter((field) => {
            try {
                return !fillField(field, how === 'events');
            } catch {
                return false;
            }
        });
        const isLast = performance.now() >= end;
        const {scrollHeight, clientHeight, scrollWidth, clientWidth} = document.scrollingElement ?? document.documentElement;
        if (!scrolled && (isLast || scrollHeight - clientHeight >= top - 1 && scrollWidth - clientWidth >= left - 1)) {
            window.scrollTo({left, top, behavior: 'instant'});
            scrolled = true;
        }
        if (isLast || (!missing.length && scrolled)) return;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
};
