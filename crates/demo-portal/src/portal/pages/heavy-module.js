modules[{{number}}] = (row, rates) => {
  const check{{number}} = letters => [...letters].reduce((sum, letter, index) => {
    const value = letter >= 'A' ? letter.charCodeAt(0) - 55 + Math.floor((letter.charCodeAt(0) - 56) / 10) : Number(letter);
    return sum + value * 2 ** index;
  }, 0) % 11 % 10;
  const state{{number}} = day => {
    switch ((row * 7 + day) % 5) {
      case 0: return { text: 'available', chip: 'free' };
      case 1: return { text: 'customs hold', chip: 'hold' };
      case 2: return { text: 'freight hold', chip: 'hold' };
      default: return { text: 'on vessel', chip: 'vessel' };
    }
  };
  const number = `MSKU${String(100000 + {{number}} * 37).slice(0, 6)}`;
  const fee = rates.reduce((sum, rate) => sum + rate * (row % 9), {{number}} % 13);
  return { number: `${number} ${check{{number}}(number)}`, fee: fee.toFixed(2), ...state{{number}}({{number}} % 31) };
};
