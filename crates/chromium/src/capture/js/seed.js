// Runs before the scripts of a document. Each origin is filled once: what is there already is newer.

const fillEmpty = (storage, entries) => {
    if (entries?.length && storage().length === 0) fillStorage(storage(), entries);
};

const seed = ({name, own, seeds, inside}) => {
    if ((window.top !== window) !== inside) return;
    globalThis.pilotlightPlanted = true;
    // What it holds is for the tab's own site alone.
    if (name && own === self.origin) window.name = fromText(name);
    const mine = seeds.find(({origin}) => origin === self.origin);
    if (!mine) return;
    fillEmpty(() => sessionStorage, mine.session);
    fillEmpty(() => localStorage, mine.local);
};
