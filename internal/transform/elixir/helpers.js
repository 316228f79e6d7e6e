// Only nil and false are false: 0 and "" are true.
function truthy(value) {
  return value !== null && value !== false;
}

// a || b.
function either(a, b) {
  return truthy(a) ? a : b();
}

// a && b.
function both(a, b) {
  return truthy(a) ? b() : a;
}

// What and, or and not take.
function boolean(value) {
  if (typeof value !== "boolean") throw new TypeError(`true or false is needed, not ${shown(value)}`);
  return value;
}

// A condition in a guard: an error is a no.
function guard(condition) {
  try {
    return condition() === true;
  } catch (error) {
    return false;
  }
}

// Nothing fits a value.
function noMatch(what, value) {
  throw new Error(`no clause of ${what} matches ${shown(value)}`);
}

// raise "…".
function raise(message) {
  throw new Error(message);
}

// A value in an error.
function shown(value) {
  const json = JSON.stringify(value);
  return json === undefined ? String(value) : json.slice(0, 200);
}

function isText(value) {
  return typeof value === "string";
}

function isInteger(value) {
  return typeof value === "bigint" || Number.isInteger(value);
}

// Floats without a fraction (1.0) and numbers that a double does not hold are raw JSON.
function isFloat(value) {
  return JSON.isRawJSON(value) || (typeof value === "number" && !Number.isInteger(value));
}

function isNumber(value) {
  return isInteger(value) || isFloat(value);
}

function isMap(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}

// Of what a message holds, nil, true and false are atoms.
function isAtom(value) {
  return value === null || typeof value === "boolean";
}

function string(value) {
  if (!isText(value)) throw new TypeError(`a text is needed, not ${shown(value)}`);
  return value;
}

function number(value) {
  if (!isNumber(value)) throw new TypeError(`bad argument in arithmetic expression: ${shown(value)} is no number`);
  return value;
}

function integer(value) {
  if (!isInteger(value)) throw new TypeError(`an integer is needed, not ${shown(value)}`);
  return value;
}

function map(value) {
  if (!isMap(value)) throw new TypeError(`a map is needed, not ${shown(value)}`);
  return value;
}

function list(value) {
  if (!Array.isArray(value)) throw new TypeError(`a list is needed, not ${shown(value)}`);
  return value;
}

// A key of a map.
function key(value) {
  if (!isText(value)) throw new TypeError(`a key that is a text is needed, not ${shown(value)}`);
  return value;
}

// An integer is a Number as long as a Number holds it, else a BigInt.
function whole(value) {
  return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
}

// A number as a double. Number takes only the last bits of a large BigInt.
function double(value) {
  return Number(typeof value === "bigint" ? String(value) : value);
}

// A float without a fraction keeps its form: 10.0, not 10.
function float(value) {
  if (!Number.isFinite(value)) throw new TypeError("bad argument in arithmetic expression: the result is no number");
  return Number.isInteger(value) ? JSON.rawJSON(floatText(value)) : value;
}

// The text of a float: the shorter one of 0.0001 and 1.0e-4, of 1000.0 and 1.0e3. From 2 to the power of 53 on it is the latter.
function floatText(value) {
  if (Object.is(value, -0)) return "-0.0";
  const [digits, exponent] = value.toExponential().split("e");
  const scientific = `${digits.includes(".") ? digits : digits + ".0"}e${Number(exponent)}`;
  if (Math.abs(value) >= 2 ** 53) return scientific;
  const plain = Number.isInteger(value) ? `${value}.0` : String(value);
  return plain.includes("e") || plain.length > scientific.length ? scientific : plain;
}

// Integers have no end, and numbers never mix with texts or nil.
function calculate(a, b, operate) {
  if (isInteger(number(a)) && isInteger(number(b))) return whole(operate(BigInt(a), BigInt(b)));
  return float(operate(double(a), double(b)));
}

function add(a, b) {
  return calculate(a, b, (x, y) => x + y);
}

function subtract(a, b) {
  return calculate(a, b, (x, y) => x - y);
}

function multiply(a, b) {
  return calculate(a, b, (x, y) => x * y);
}

// The result of / is a float always.
function divide(a, b) {
  return float(double(number(a)) / double(number(b)));
}

function negate(a) {
  return isInteger(number(a)) ? whole(-BigInt(a)) : float(-Number(a));
}

function absolute(a) {
  return isInteger(number(a)) ? whole(BigInt(a) < 0n ? -BigInt(a) : BigInt(a)) : float(Math.abs(Number(a)));
}

// Integer division, towards zero.
function div(a, b) {
  return whole(BigInt(integer(a)) / BigInt(integer(b)));
}

// The remainder has the sign of the dividend.
function rem(a, b) {
  return whole(BigInt(integer(a)) % BigInt(integer(b)));
}

// The remainder has the sign of the divisor.
function mod(a, b) {
  const r = BigInt(integer(a)) % BigInt(integer(b));
  return whole(r !== 0n && r < 0n !== BigInt(b) < 0n ? r + BigInt(b) : r);
}

// Integer division, downwards.
function floorDiv(a, b) {
  return whole((BigInt(integer(a)) - BigInt(mod(a, b))) / BigInt(b));
}

// What makes an integer of a float.
function integral(value, operate) {
  return isInteger(number(value)) ? value : whole(BigInt(operate(Number(value))));
}

// Halves go away from zero.
function round(value) {
  return integral(value, (x) => (x < 0 ? -Math.round(-x) : Math.round(x)));
}

function ceil(value) {
  return integral(value, Math.ceil);
}

function floor(value) {
  return integral(value, Math.floor);
}

function truncate(value) {
  return integral(value, Math.trunc);
}

function toInteger(text) {
  if (!/^[+-]?\d+$/.test(string(text))) throw new TypeError(`no integer: ${shown(text)}`);
  return whole(BigInt(text.replace("+", "")));
}

function toFloat(text) {
  if (!/^[+-]?\d+\.\d+([eE][+-]?\d+)?$/.test(string(text))) throw new TypeError(`no float: ${shown(text)}`);
  return float(Number(text));
}

// [number, what comes behind it], or "error".
function parseInteger(text) {
  const digits = /^[+-]?\d+/.exec(string(text));
  return digits === null ? "error" : [toInteger(digits[0]), text.slice(digits[0].length)];
}

function has(m, name) {
  return Object.hasOwn(m, name);
}

// What stands under a key. A float that is written without a fraction in JavaScript (1.0) is told from an integer by its text.
function read(m, name) {
  const value = m[name];
  if (Array.isArray(value)) return floats(value);
  if (!Number.isInteger(value)) return value;
  return /[.eE]/.test(numberText(m, name)) ? float(value) : value;
}

// The text that a number has in the message.
function numberText(m, name) {
  return JSON.stringify(m, [name]).slice(JSON.stringify(name).length + 2);
}

// A list in which floats keep their form.
function floats(values) {
  if (!values.some(Number.isInteger) || !values.every((value) => typeof value === "number" || value === null)) return values;
  const texts = JSON.stringify(values).slice(1, -1).split(",");
  return values.map((value, i) => (Number.isInteger(value) && /[.eE]/.test(texts[i]) ? float(value) : value));
}

// m[key]: nil where there is nothing, in nil too.
function get(m, name) {
  if (m === null) return null;
  return has(map(m), name) ? read(m, name) : null;
}

// Map.get with a value for a key that is not there.
function getOr(m, name, otherwise) {
  return has(map(m), name) ? read(m, name) : otherwise;
}

// A key that has to be there.
function fetch(m, name) {
  if (!has(map(m), name)) throw new Error(`key ${shown(name)} not found in ${shown(m)}`);
  return read(m, name);
}

function hasKey(m, name) {
  return has(map(m), name);
}

// The keys and values of a map, in the order of the keys.
function entries(m) {
  if (Array.isArray(m) && m.length === 0) return [];
  const names = Object.keys(map(m)).sort(compareTexts);
  return names.map((name) => [name, read(m, name)]);
}

// The map of keys and values.
function mapOf(pairs) {
  const out = {};
  for (const [name, value] of pairs || []) {
    Object.defineProperty(out, key(name), { value, writable: true, enumerable: true, configurable: true });
  }
  return out;
}

// A map to be changed.
function copy(m) {
  return mapOf(Object.keys(map(m)).map((name) => [name, read(m, name)]));
}

function put(m, name, value) {
  return { ...copy(m), [name]: value };
}

// Puts a value under an atom into a map whose keys are texts. In Elixir these are two keys.
function putApart(m, name, value) {
  if (has(map(m), name)) throw new Error(`the key ${shown(name)} is there as a text: JSON would have it twice`);
  return put(m, name, value);
}

function putNew(m, name, value) {
  return has(map(m), name) ? m : put(m, name, value);
}

function replaceKey(m, name, value) {
  return has(map(m), name) ? put(m, name, value) : m;
}

function replaceKeyOrFail(m, name, value) {
  fetch(m, name);
  return put(m, name, value);
}

function updateKey(m, name, change, initial) {
  if (!has(map(m), name) && initial) return put(m, name, initial());
  return put(m, name, change(fetch(m, name)));
}

// %{map | key: value}: the keys must be there.
function update(m, changes) {
  for (const name of Object.keys(changes)) fetch(m, name);
  return { ...copy(m), ...changes };
}

function putIn(m, names, value) {
  const [name, ...rest] = names;
  return put(m, name, rest.length === 0 ? value : putIn(get(m, name), rest, value));
}

function merge(a, b) {
  return { ...copy(a), ...copy(b) };
}

// Merges maps with keys that are texts and atoms. In Elixir the same word is two keys then: the atoms of one must not be in the other as texts.
function mergeApart(a, b, atomsOfA, atomsOfB) {
  const twice = [...atomsOfA.filter((name) => has(map(b), name)), ...atomsOfB.filter((name) => has(map(a), name))];
  if (twice.length > 0) throw new Error(`the key ${shown(twice[0])} is there as an atom and as a text: JSON would have it twice`);
  return merge(a, b);
}

function keep(m, names) {
  return mapOf(entriesAsWritten(m).filter(([name]) => names.includes(name)));
}

function omit(m, names) {
  return mapOf(entriesAsWritten(m).filter(([name]) => !names.includes(name)));
}

function entriesAsWritten(m) {
  return Object.keys(map(m)).map((name) => [name, read(m, name)]);
}

function mapSize(m) {
  return Object.keys(map(m)).length;
}

// The order of texts is that of their characters' codes.
function compareTexts(a, b) {
  const x = Array.from(a);
  const y = Array.from(b);
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x[i] !== y[i]) return x[i].codePointAt(0) - y[i].codePointAt(0);
  }
  return x.length - y.length;
}

// The order over all values: numbers, false, nil, true, maps, lists, texts.
function compare(a, b) {
  const ranks = [rank(a), rank(b)];
  if (ranks[0] !== ranks[1]) return ranks[0] - ranks[1];
  if (isNumber(a)) return compareNumbers(a, b);
  if (isText(a)) return compareTexts(a, b);
  if (Array.isArray(a)) return compareLists(a, b);
  return isMap(a) ? compareMaps(a, b) : 0;
}

function rank(value) {
  if (isNumber(value)) return 0;
  if (isAtom(value)) return value === null ? 2 : value ? 3 : 1;
  if (isMap(value)) return 4;
  return Array.isArray(value) ? 5 : 6;
}

function compareNumbers(a, b) {
  const [x, y] = [isFloat(a) ? Number(a) : a, isFloat(b) ? Number(b) : b];
  return x < y ? -1 : x > y ? 1 : 0;
}

function compareLists(a, b) {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const order = compare(a[i], b[i]);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareMaps(a, b) {
  const [x, y] = [entries(a), entries(b)];
  const keys = x.length - y.length || compareLists(x.map(([name]) => name), y.map(([name]) => name));
  return keys || compareLists(x.map(([, value]) => value), y.map(([, value]) => value));
}

// ==: 1 equals 1.0, and maps and lists equal others with the same content.
function equal(a, b) {
  return alike(a, b, false);
}

// ===: 1 is not the same as 1.0.
function same(a, b) {
  return alike(a, b, true);
}

function alike(a, b, strictly) {
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b) === 0 && (!strictly || isFloat(a) === isFloat(b));
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((value, i) => alike(value, b[i], strictly));
  if (!isMap(a) || !isMap(b)) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => has(b, name) && alike(read(a, name), read(b, name), strictly));
}

function greatest(a, b) {
  return compare(a, b) >= 0 ? a : b;
}

function least(a, b) {
  return compare(a, b) <= 0 ? a : b;
}

// to_string and interpolation.
function text(value) {
  if (value === null) return "";
  if (isText(value) || typeof value === "boolean" || isInteger(value)) return String(value);
  if (isFloat(value)) return floatText(Number(value));
  if (Array.isArray(value)) return value.map(signs).join("");
  throw new TypeError(`${shown(value)} has no text`);
}

// An element of a list that becomes a text: a text, the code of a character, or a list of them.
function signs(value) {
  if (isText(value)) return value;
  if (Array.isArray(value)) return value.map(signs).join("");
  return String.fromCodePoint(integer(value));
}

// The text of a column: Elixir prints a timestamp with a blank in the middle.
function columnText(value) {
  return isText(value) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z?$/.test(value) ? dateText(value) : text(value);
}

function dateText(value) {
  return value.replace("T", " ");
}

function concat(...texts) {
  return texts.map(string).join("");
}

// The characters as a reader counts them: a letter with its accents is one, and so is an emoji made of several.
function characters(value) {
  const out = [];
  let joiner = false;
  let flags = 0;
  for (const c of string(value)) {
    const last = out.length - 1;
    const flag = /^[\u{1F1E6}-\u{1F1FF}]$/u.test(c);
    if (last >= 0 && (attached(c) && !/[\r\n\u0000-\u001f\u007f-\u009f]$/.test(out[last]) || joiner && pictographic(c) || flag && flags % 2 === 1 || c === "\n" && out[last] === "\r" || hangul(out[last], c))) {
      out[last] += c;
    } else {
      out.push(c);
    }
    joiner = c === "\u200d" && pictographic(Array.from(out[out.length - 1])[0]);
    flags = flag ? flags + 1 : 0;
  }
  return out;
}

// Whether a sign belongs to the one before it. Scripts with rules of their own are refused.
function attached(c) {
  if (c < "\u0300") return false;
  if (/^[\u0700-\u074f\u07eb-\u10ff\u135d-\u137f\u1712-\u1cff\ua66f-\uabff]$/.test(c) || /^[\u{10000}-\u{1EFFF}\u{E0000}-\u{E0FFF}]$/u.test(c)) {
    throw new Error(`the characters of a text with ${shown(c)} are not counted as Elixir counts them`);
  }
  return /^[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1dc0-\u1dff\u200c\u200d\u20d0-\u20f0\u302a-\u302f\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f]$/.test(c) ||
    /^[\u{1F3FB}-\u{1F3FF}]$/u.test(c);
}

function pictographic(c) {
  return /^[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\u3030\u303d\u3297\u3299]$/.test(c) || /^[\u{1F000}-\u{1F1E5}\u{1F200}-\u{1F3FA}\u{1F400}-\u{1FAFF}]$/u.test(c);
}

// The parts of a Korean syllable belong together.
function hangul(before, c) {
  const last = before[before.length - 1];
  const kind = (x) => {
    const code = x.charCodeAt(0);
    if (code >= 0x1100 && code <= 0x115f || code >= 0xa960 && code <= 0xa97c) return "L";
    if (code >= 0x1160 && code <= 0x11a7) return "V";
    if (code >= 0x11a8 && code <= 0x11ff) return "T";
    if (code >= 0xac00 && code <= 0xd7a3) return (code - 0xac00) % 28 === 0 ? "LV" : "LVT";
    return "";
  };
  return ["L L", "L V", "L LV", "L LVT", "LV V", "LV T", "V V", "V T", "LVT T", "T T"].includes(`${kind(last)} ${kind(c)}`);
}

function characterAt(value, place) {
  return at(characters(value), place);
}

function byteSize(value) {
  return bytesOf(string(value)).length;
}

// The bytes of a text in UTF-8, as characters from 0 to 255.
function bytesOf(value) {
  return encodeURIComponent(value).replace(/%(..)/g, (escape, digits) => String.fromCharCode(parseInt(digits, 16)));
}

function textOf(bytes) {
  return decodeURIComponent(bytes.replace(/[^]/g, (c) => `%${(c.charCodeAt(0) + 256).toString(16).slice(1)}`));
}

function upcase(value) {
  return string(value).toUpperCase();
}

// Each character on its own: a sigma at the end of a word is none of its own.
function downcase(value) {
  return Array.from(string(value), (c) => c.toLowerCase()).join("");
}

function capitalize(value) {
  const [first, ...rest] = Array.from(string(value));
  if (first === undefined) return "";
  if (/^[ŉǄ-ǌǰ-ǳ\u0390\u03b0\u0587\u10d0-\u10ff\u1e96-\u1e9a\u1f00-\u1fff\ufb00-\ufb17]/.test(first)) {
    throw new Error(`${shown(first)} is not capitalized as Elixir does it`);
  }
  const capital = first.toUpperCase();
  return capital.slice(0, first.length) + capital.slice(first.length).toLowerCase() + downcase(rest.join(""));
}

// Whether a text, or one of several, is in another one.
function contains(value, what) {
  return anyOf(what, (part) => string(value).includes(part));
}

function startsWith(value, what) {
  return anyOf(what, (part) => string(value).startsWith(part));
}

function endsWith(value, what) {
  return anyOf(what, (part) => string(value).endsWith(part));
}

function anyOf(what, test) {
  return (Array.isArray(what) ? what : [what]).some((part) => test(string(part)));
}

function repeat(value, times) {
  return string(value).repeat(Number(integer(times)));
}

const blank = "[\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";

function trimLeft(value) {
  return string(value).replace(new RegExp(`^${blank}+`), "");
}

function trimRight(value) {
  return string(value).replace(new RegExp(`${blank}+$`), "");
}

function trim(value) {
  return trimLeft(trimRight(value));
}

// The words of a text. Blanks that do not break a line do not part words.
function words(value) {
  return string(value).split(/[\t-\r \x85\u1680\u2000-\u2006\u2008-\u200a\u2028\u2029\u205f\u3000]+/).filter((word) => word !== "");
}

function padding(value, size, fill) {
  const signs = characters(fill);
  if (signs.length === 0) throw new TypeError("the text to fill up with is empty");
  let out = "";
  for (let i = 0; i < Number(integer(size)) - characters(value).length; i++) out += signs[i % signs.length];
  return out;
}

function padLeft(value, size, fill = " ") {
  return padding(value, size, fill) + value;
}

function padRight(value, size, fill = " ") {
  return value + padding(value, size, fill);
}

function replacePrefix(value, prefix, to) {
  return string(value).startsWith(string(prefix)) ? string(to) + value.slice(prefix.length) : value;
}

function replaceSuffix(value, suffix, to) {
  return string(value).endsWith(string(suffix)) ? value.slice(0, value.length - suffix.length) + string(to) : value;
}

// An expression that goes through the bytes of a text, since it has no option u.
function bytewise(expression) {
  expression.bytes = true;
  return expression;
}

// All that an expression finds, each with its groups.
function found(expression, value) {
  const out = [];
  for (const match of (expression.bytes ? bytesOf(string(value)) : string(value)).matchAll(expression)) out.push(match);
  return out;
}

function matches(expression, value) {
  return found(expression, value).length > 0;
}

// Groups that found nothing are "", and are left out at the end.
function groups(expression, match) {
  const out = Array.from(match, (group) => (group === undefined ? "" : expression.bytes ? textOf(group) : group));
  while (out.length > 1 && match[out.length - 1] === undefined) out.pop();
  return out;
}

function firstMatch(expression, value) {
  const [match] = found(expression, value);
  return match === undefined ? null : groups(expression, match);
}

function allMatches(expression, value) {
  return found(expression, value).map((match) => groups(expression, match));
}

function namedMatch(expression, value) {
  const [match] = found(expression, value);
  if (match === undefined) return null;
  return mapOf(Object.keys(match.groups || {}).map((name) => [name, match.groups[name] === undefined ? "" : expression.bytes ? textOf(match.groups[name]) : match.groups[name]]));
}

// The parts between what an expression finds, and what it finds.
function parted(expression, value) {
  const subject = expression.bytes ? bytesOf(string(value)) : string(value);
  const parts = [];
  let from = 0;
  for (const match of found(expression, value)) {
    parts.push(subject.slice(from, match.index), match);
    from = match.index + match[0].length;
  }
  return [...parts, subject.slice(from)];
}

// Replaces all; in what is put in place of an expression, \1 is its first group.
function replace(value, what, to) {
  if (isText(what)) {
    if (what === "") throw new Error("an empty text is not replaced");
    return string(value).split(what).join(string(to));
  }
  const filled = (match) => {
    const by = string(to).replace(/\\(?:(\d)|g\{(\d+)\}|\\)/g, (mark, digit, digits) => (mark === "\\\\" ? "\\" : group(match, digit || digits, what)));
    return what.bytes ? bytesOf(by) : by;
  };
  const out = parted(what, value).map((part) => (isText(part) ? part : filled(part))).join("");
  return what.bytes ? textOf(out) : out;
}

function group(match, place, expression) {
  const value = match[Number(place)] || "";
  return expression.bytes ? textOf(value) : value;
}

// The parts of a text between others, at most so many.
function split(value, by, most = Infinity) {
  let parts;
  if (isText(by)) {
    if (by === "") throw new Error("a text is not split by an empty one");
    parts = string(value).split(by).flatMap((part, i) => (i === 0 ? [part] : [by, part]));
  } else {
    parts = parted(by, value).map((part) => (isText(part) ? part : part[0]));
    if (parts.some((part, i) => i % 2 === 1 && part === "")) throw new Error("a text is not split where an expression finds nothing");
    if (by.bytes) parts = parts.map(textOf);
  }
  const out = parts.filter((part, i) => i % 2 === 0);
  if (out.length <= most) return out;
  return [...out.slice(0, most - 1), parts.slice(2 * (most - 1)).join("")];
}

// The place in a list, counted from its end when it is negative.
function at(values, place, otherwise = null) {
  const i = Number(integer(place));
  const index = i < 0 ? i + list(values).length : i;
  return index >= 0 && index < list(values).length ? values[index] : otherwise;
}

function slice(values, start, amount) {
  const from = Number(integer(start)) + (start < 0 ? list(values).length : 0);
  return list(values).slice(Math.max(from, 0), Math.max(from, 0) + Number(integer(amount)));
}

// From one place to another, counted from the end when they are negative.
function sliceRange(values, from, to) {
  const start = from < 0 ? Math.max(from + list(values).length, 0) : from;
  const end = to < 0 ? to + list(values).length : to;
  return list(values).slice(start, Math.max(end + 1, 0));
}

function take(values, amount) {
  return amount < 0 ? list(values).slice(Number(amount)) : list(values).slice(0, Number(integer(amount)));
}

function drop(values, amount) {
  return amount < 0 ? list(values).slice(0, Number(amount)) : list(values).slice(Number(integer(amount)));
}

function length(values) {
  return list(values).length;
}

function count(values) {
  return Array.isArray(values) ? values.length : mapSize(values);
}

function head(values) {
  if (list(values).length === 0) throw new Error("an empty list has no head");
  return values[0];
}

function tail(values) {
  head(values);
  return values.slice(1);
}

function select(values, wanted) {
  return list(values).filter((value) => truthy(wanted(value)));
}

function reject(values, unwanted) {
  return list(values).filter((value) => !truthy(unwanted(value)));
}

function any(values, wanted) {
  return list(values).some((value) => truthy(wanted(value)));
}

function all(values, wanted) {
  return list(values).every((value) => truthy(wanted(value)));
}

function find(values, wanted) {
  const i = list(values).findIndex((value) => truthy(wanted(value)));
  return i < 0 ? null : values[i];
}

function findIndex(values, wanted) {
  const i = list(values).findIndex((value) => truthy(wanted(value)));
  return i < 0 ? null : i;
}

function findValue(values, make) {
  for (const value of list(values)) {
    const made = make(value);
    if (truthy(made)) return made;
  }
  return null;
}

function reduce(values, initial, step) {
  return list(values).reduce((carried, value) => step(value, carried), initial);
}

function flatMap(values, make) {
  return list(values).flatMap((value) => list(make(value)));
}

function takeWhile(values, wanted) {
  const end = list(values).findIndex((value) => !truthy(wanted(value)));
  return end < 0 ? values : values.slice(0, end);
}

function dropWhile(values, wanted) {
  const start = list(values).findIndex((value) => !truthy(wanted(value)));
  return start < 0 ? [] : values.slice(start);
}

function splitWith(values, wanted) {
  return [select(values, wanted), reject(values, wanted)];
}

function unique(values, by = (value) => value) {
  const seen = [];
  return list(values).filter((value) => {
    const mark = by(value);
    if (seen.some((other) => same(other, mark))) return false;
    seen.push(mark);
    return true;
  });
}

function dedup(values) {
  return list(values).filter((value, i) => i === 0 || !same(value, values[i - 1]));
}

function sort(values) {
  return [...list(values)].sort(compare);
}

// Sorts by what a function makes of each; equals stay as they are.
function sortBy(values, by, descending = false) {
  const marked = list(values).map((value) => ({ value, mark: by(value) }));
  marked.sort((a, b) => (descending ? compare(b.mark, a.mark) : compare(a.mark, b.mark)));
  return marked.map(({ value }) => value);
}

function greatestBy(values, by) {
  if (list(values).length === 0) throw new Error("an empty list has no greatest element");
  return values.reduce((best, value) => (compare(by(value), by(best)) > 0 ? value : best));
}

function leastBy(values, by) {
  if (list(values).length === 0) throw new Error("an empty list has no least element");
  return values.reduce((best, value) => (compare(by(value), by(best)) < 0 ? value : best));
}

function greatestOf(values) {
  return greatestBy(values, (value) => value);
}

function leastOf(values) {
  return leastBy(values, (value) => value);
}

function sum(values) {
  return list(values).reduce(add, 0);
}

function groupBy(values, by, make = (value) => value) {
  const out = new Map();
  for (const value of list(values)) {
    const name = key(by(value));
    out.set(name, [...(out.get(name) || []), make(value)]);
  }
  return mapOf([...out]);
}

function frequencies(values, by) {
  return mapOf(entriesAsWritten(groupBy(values, by)).map(([name, group]) => [name, group.length]));
}

function flatten(values) {
  return list(values).flatMap((value) => (Array.isArray(value) ? flatten(value) : [value]));
}

function concatLists(values) {
  return list(values).flatMap(list);
}

function duplicate(value, times) {
  return Array.from({ length: Number(integer(times)) }, () => value);
}

function chunk(values, size) {
  const out = [];
  for (let i = 0; i < list(values).length; i += Number(integer(size))) out.push(values.slice(i, i + Number(size)));
  return out;
}

function withIndex(values) {
  return list(values).map((value, i) => [value, i]);
}

function zip(a, b) {
  return list(a).slice(0, list(b).length).map((value, i) => [value, b[i]]);
}

function deleteAt(values, place) {
  const i = place < 0 ? Number(place) + list(values).length : Number(integer(place));
  return list(values).filter((value, k) => k !== i);
}

// What is in a list, without one of each that is in the other.
function without(values, others) {
  const rest = [...list(values)];
  for (const other of list(others)) {
    const i = rest.findIndex((value) => same(value, other));
    if (i >= 0) rest.splice(i, 1);
  }
  return rest;
}

function member(values, value) {
  return list(values).some((other) => same(other, value));
}

function joinTexts(values, separator) {
  return list(values).map(text).join(string(separator));
}

// A date, or a time, whose parts are possible. An error has the reason that Elixir gives.
function checked(date, time, value) {
  const fail = (reason) => {
    throw Object.assign(new TypeError(`${shown(value)} is no date or time: ${reason}`), { reason });
  };
  const [year, month, day] = date.split("-").map(Number);
  const days = new Date(Date.UTC(2000, month, 0)).getUTCDate() - (month === 2 && (year % 4 !== 0 || (year % 100 === 0 && year % 400 !== 0)) ? 1 : 0);
  const [hour, minute, second] = time.split(":").map(Number);
  if (hour > 23 || minute > 59 || second > 59) fail("invalid_time");
  if (month < 1 || month > 12 || day < 1 || day > days) fail("invalid_date");
}

// The parts of a time in ISO 8601.
function timeParts(value) {
  const parts = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?$/.exec(string(value));
  if (parts === null) throw Object.assign(new TypeError(`${shown(value)} is no time`), { reason: "invalid_format" });
  checked(parts[1], parts[2], value);
  return { date: parts[1], time: parts[2], fraction: (parts[3] || "").slice(0, 7), zone: parts[4] || "" };
}

function toDate(value) {
  if (!/^\d{4}-\d\d-\d\d$/.test(string(value))) throw Object.assign(new TypeError(`${shown(value)} is no date`), { reason: "invalid_format" });
  checked(value, "00:00:00", value);
  return value;
}

// A time without a zone.
function toNaive(value) {
  const { date, time, fraction } = timeParts(value);
  return `${date}T${time}${fraction}`;
}

// The same for what is a time already.
function naiveOf(value) {
  return toNaive(value);
}

// The day of a date or a time.
function dateOf(value) {
  return string(value).length === 10 ? toDate(value) : timeParts(value).date;
}

// A time in UTC.
function toDateTime(value) {
  const { date, time, fraction, zone } = timeParts(value);
  if (zone === "") throw Object.assign(new TypeError(`${shown(value)} has no time zone`), { reason: "missing_offset" });
  if (zone === "Z") return `${date}T${time}${fraction}Z`;
  return addTime(`${date}T${time}${fraction}Z`, -offset(zone), 1000000);
}

// The seconds of +02:00.
function offset(zone) {
  if (zone === "Z" || zone === "") return 0;
  const [hours, minutes] = zone.slice(1).split(":").map(Number);
  return (zone[0] === "-" ? -1 : 1) * (hours * 3600 + minutes * 60);
}

// ["ok", time], or ["error", reason].
function parseTime(value, make) {
  try {
    return ["ok", make(string(value))];
  } catch (error) {
    if (error.reason === undefined) throw error;
    return ["error", error.reason];
  }
}

function parseDateTime(value) {
  const result = parseTime(value, toDateTime);
  return result[0] === "ok" ? [...result, offset(timeParts(value).zone)] : result;
}

// Microseconds since 1970.
function micros(value) {
  const { date, time, fraction } = timeParts(value);
  const [year, month, day] = date.split("-").map(Number);
  const [hour, minute, second] = time.split(":").map(Number);
  const midnight = new Date(0);
  midnight.setUTCFullYear(year, month - 1, day);
  return BigInt(midnight.getTime() + ((hour * 60 + minute) * 60 + second) * 1000) * 1000n + BigInt(fraction.slice(1).padEnd(6, "0"));
}

// A time with so many digits behind the second.
function fromMicros(value, digits, zone) {
  const micro = ((value % 1000000n) + 1000000n) % 1000000n;
  const seconds = new Date(Number((value - micro) / 1000n)).toISOString().slice(0, 19);
  if (seconds.length !== 19 || seconds[0] === "+" || seconds[0] === "-") throw new Error("a time is beyond the year 9999");
  return seconds + (digits > 0 ? `.${String(micro).padStart(6, "0").slice(0, digits)}` : "") + zone;
}

function order(a, b) {
  return a < b ? "lt" : a > b ? "gt" : "eq";
}

// Divides downwards.
function unitsOf(value, unit) {
  const size = BigInt(unit);
  const rest = ((value % size) + size) % size;
  return whole((value - rest) / size);
}

function toUnix(value, unit = 1000000) {
  return unitsOf(micros(toDateTime(value)), unit);
}

function fromUnix(value, unit) {
  return fromMicros(BigInt(integer(value)) * BigInt(unit), { 1000000: 0, 1000: 3, 1: 6 }[unit], "Z");
}

function timeDiff(a, b, unit = 1000000) {
  return subtract(unitsOf(micros(a), unit), unitsOf(micros(b), unit));
}

function addTime(value, amount, unit) {
  const { fraction, zone } = timeParts(value);
  const digits = Math.max(fraction.length - 1, { 1000: 3, 1: 6 }[unit] || 0);
  return fromMicros(micros(value) + BigInt(integer(amount)) * BigInt(unit), digits, zone);
}

function truncateTime(value, unit) {
  const { date, time, fraction, zone } = timeParts(value);
  const kept = { second: 0, millisecond: 4, microsecond: 7 }[unit];
  return `${date}T${time}${fraction.slice(0, kept)}${zone}`;
}

function day(value) {
  return micros(`${dateOf(value)}T00:00:00`) / 86400000000n;
}

function dayDiff(a, b) {
  return whole(day(a) - day(b));
}

function addDays(value, amount) {
  return fromMicros((day(value) + BigInt(integer(amount))) * 86400000000n, 0, "").slice(0, 10);
}

// Monday is 1.
function dayOfWeek(value) {
  return Number((((day(value) + 3n) % 7n) + 7n) % 7n) + 1;
}

function datePart(value, part) {
  const parts = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d))?/.exec(string(value));
  const i = ["year", "month", "day", "hour", "minute", "second"].indexOf(part);
  if (parts === null || parts[i + 1] === undefined) throw new Error(`${shown(value)} has no ${part}`);
  return Number(parts[i + 1]);
}

// Decimals are texts, as in the message.
function decimal(value) {
  const digits = isInteger(value) ? String(value) : string(value);
  if (!/^-?\d+(\.\d+)?$/.test(digits)) throw new TypeError(`${shown(value)} is no decimal`);
  return digits;
}

function scale(value) {
  return (decimal(value).split(".")[1] || "").length;
}

// Two decimals as integers of the same scale.
function scaled(a, b) {
  const digits = Math.max(scale(a), scale(b));
  return [a, b].map((value) => BigInt(decimal(value).replace(".", "") + "0".repeat(digits - scale(value))));
}

function decimalText(value, digits) {
  const all = String(value < 0n ? -value : value).padStart(digits + 1, "0");
  if (all.replace(/^0+/, "").length > 28) throw new Error("a decimal has more than 28 digits");
  return (value < 0n ? "-" : "") + (digits === 0 ? all : `${all.slice(0, -digits)}.${all.slice(-digits)}`);
}

function decimalSum(a, b, sign) {
  const [x, y] = scaled(a, b);
  return decimalText(x + sign * y, Math.max(scale(a), scale(b)));
}

function decimalProduct(a, b) {
  return decimalText(BigInt(decimal(a).replace(".", "")) * BigInt(decimal(b).replace(".", "")), scale(a) + scale(b));
}

// As forms write a text: blanks are plus signs.
function formEncode(value) {
  return encodeURIComponent(string(value)).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`).replace(/%20/g, "+");
}

function hex(value) {
  return Array.from(bytesOf(string(value)), (c) => (c.charCodeAt(0) + 256).toString(16).slice(1).toUpperCase()).join("");
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function base64(value) {
  const bytes = bytesOf(string(value));
  let out = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const [a, b, c] = [0, 1, 2].map((k) => bytes.charCodeAt(i + k) || 0);
    const digits = [a >> 2, ((a & 3) << 4) | (b >> 4), ((b & 15) << 2) | (c >> 6), c & 63].map((digit) => base64Digits[digit]).join("");
    out += digits.slice(0, Math.min(bytes.length - i, 3) + 1).padEnd(4, "=");
  }
  return out;
}

function fromBase64(value) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(string(value))) throw new Error(`${shown(value)} is not in Base64`);
  let bytes = "";
  for (let i = 0; i < value.length; i += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => base64Digits.indexOf(value[i + k]));
    bytes += String.fromCharCode((a << 2) | (b >> 4));
    if (c >= 0) bytes += String.fromCharCode(((b & 15) << 4) | (c >> 2));
    if (d >= 0) bytes += String.fromCharCode(((c & 3) << 6) | d);
  }
  return textOf(bytes);
}

function fromJSON(value) {
  return JSON.parse(string(value));
}

// JSON with the keys of maps in order.
function toJSON(value) {
  if (Array.isArray(value)) return `[${value.map(toJSON).join(",")}]`;
  if (isMap(value)) return `{${entries(value).map(([name, part]) => `${JSON.stringify(name)}:${toJSON(part)}`).join(",")}}`;
  return isFloat(value) ? floatText(Number(value)) : JSON.stringify(value);
}
