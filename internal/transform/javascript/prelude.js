// Runs once in a new realm and makes it fit for functions: what belongs to the language is bounded, repeatable, and then frozen.
(function (host) {
  "use strict";
  const define = Reflect.defineProperty;
  const hide = (object, name, value) => define(object, name, { value, writable: true, configurable: true, enumerable: false });
  const sample = {
    generator: function* () {},
    async: async function () {},
    array: [],
    strict: (function () { return arguments; })(),
  };

  // Code made of text. The constructors are reached through any function.
  const refuse = (what) => function () { throw new TypeError(what + " is not available in functions"); };
  const code = { Function: refuse("Function"), eval: refuse("eval") };
  define(code.Function, "prototype", { value: Function.prototype });
  for (const f of [Function.prototype, Object.getPrototypeOf(sample.generator), Object.getPrototypeOf(sample.async)]) {
    define(f, "constructor", { value: code.Function, writable: true, configurable: true, enumerable: false });
  }
  hide(globalThis, "Function", code.Function);
  hide(globalThis, "eval", code.eval);
  for (const name of ["SharedArrayBuffer", "Atomics", "WeakRef", "FinalizationRegistry"]) delete globalThis[name];

  // Time is UTC: goja takes the zone of the process.
  const dates = Date.prototype;
  for (const part of ["FullYear", "Month", "Date", "Day", "Hours", "Minutes", "Seconds", "Milliseconds"]) {
    hide(dates, "get" + part, dates["getUTC" + part]);
    if (part !== "Day") hide(dates, "set" + part, dates["setUTC" + part]);
  }
  const time = dates.getTime, apply = Reflect.apply;
  const methods = {
    getTimezoneOffset() { return apply(time, this, []) * 0; },
    getYear() { return this.getUTCFullYear() - 1900; },
    setYear(y) { return this.setUTCFullYear(0 <= y && y <= 99 ? 1900 + Math.trunc(y) : y); },
    toString() { return host.dateText(apply(time, this, []), "full"); },
    toDateString() { return host.dateText(apply(time, this, []), "date"); },
    toTimeString() { return host.dateText(apply(time, this, []), "time"); },
    toLocaleString() { return host.dateText(apply(time, this, []), "localeFull"); },
    toLocaleDateString() { return host.dateText(apply(time, this, []), "localeDate"); },
    toLocaleTimeString() { return host.dateText(apply(time, this, []), "localeTime"); },
  };
  for (const name of Reflect.ownKeys(methods)) hide(dates, name, methods[name]);
  hide(Date, "parse", host.dateParse);

  // instead puts a constructor in the place of one that the engine has.
  const construct = Reflect.construct;
  const instead = (original, replacement) => {
    for (const key of Reflect.ownKeys(original)) define(replacement, key, Reflect.getOwnPropertyDescriptor(original, key));
    Object.setPrototypeOf(replacement, Object.getPrototypeOf(original));
    hide(original.prototype, "constructor", replacement);
    hide(globalThis, original.name, replacement);
  };
  const engineDate = Date;
  instead(engineDate, function () {
    if (!new.target) return new engineDate().toString();
    return construct(engineDate, host.dateArguments(arguments), new.target);
  });

  const typed = Object.getPrototypeOf(Uint8Array);
  for (const name of Reflect.ownKeys(globalThis)) {
    const original = globalThis[name];
    if (name === "ArrayBuffer" || typeof original === "function" && Object.getPrototypeOf(original) === typed) {
      instead(original, function (size) {
        if (!new.target) throw new TypeError(name + " needs new");
        host.boundBuffer(size, original.BYTES_PER_ELEMENT || 1, name);
        return construct(original, arguments, new.target);
      });
    }
  }
  host.boundDepth(Object.getPrototypeOf(Object.getPrototypeOf(sample.generator())));

  host.bound();

  const quiet = {};
  for (const name of ["log", "info", "warn", "error", "debug", "trace", "assert", "table", "group", "groupEnd", "time", "timeEnd"]) {
    hide(quiet, name, function () {});
  }
  hide(globalThis, "console", quiet);

  const numbers = {
    toString() { return host.digits(this); },
    valueOf() { return Number(host.digits(this)); },
    toJSON() { return host.digits(this); },
  };
  for (const name of Reflect.ownKeys(numbers)) define(numbers, name, { enumerable: false });

  // Assigning to a key that a frozen prototype has would fail: it becomes an accessor that defines the key where it is assigned.
  const accessor = (prototype, name) => {
    const property = Reflect.getOwnPropertyDescriptor(prototype, name);
    if (!property || !("value" in property) || !property.configurable) return;
    const value = property.value;
    define(prototype, name, {
      get() { return value; },
      set(v) {
        const own = { value: v, writable: true, configurable: true, enumerable: true };
        if (Object(this) !== this || !define(this, name, own)) throw new TypeError("Cannot assign to read only property '" + String(name) + "'");
      },
      configurable: false,
      enumerable: false,
    });
  };
  for (const name of Reflect.ownKeys(Object.prototype)) accessor(Object.prototype, name);
  for (const prototype of [Array.prototype, Function.prototype, dates]) {
    for (const name of ["toString", "valueOf", "toJSON"]) accessor(prototype, name);
  }
  for (const error of [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, typeof AggregateError === "function" ? AggregateError : Error]) {
    for (const name of ["constructor", "name", "message", "toString"]) accessor(error.prototype, name);
  }

  const roots = [globalThis, numbers, code, sample,
    sample.generator(), sample.async(), sample.array[Symbol.iterator](), ""[Symbol.iterator](), new Map()[Symbol.iterator](),
    new Set()[Symbol.iterator](), "a".matchAll(/a/g), /a/, /a/g, new Promise(() => {}), Symbol.prototype, new WeakMap(), new WeakSet()];
  const seen = new Set();
  while (roots.length > 0) {
    const object = roots.pop();
    if (Object(object) !== object || seen.has(object)) continue;
    seen.add(object);
    roots.push(Reflect.getPrototypeOf(object));
    for (const key of Reflect.ownKeys(object)) {
      const property = Reflect.getOwnPropertyDescriptor(object, key);
      roots.push(property.value, property.get, property.set);
    }
    Object.freeze(object);
  }
  return numbers;
})
