// One visit: fills templates, signs, takes values out of answers. `careforall_load/visit.py` says the same in Python.
import crypto from 'k6/crypto';

const SLOT = /{{(\w+)}}/g;

const pick = (list) => list[Math.floor(Math.random() * list.length)];

function uuid() {
  const bytes = new Uint8Array(crypto.randomBytes(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function text(template, values) {
  return template.replace(SLOT, (_, name) => {
    if (name === 'uuid') return uuid();
    if (!(name in values)) throw new Error(`nothing gives the value ${name}`);
    return values[name];
  });
}

function fill(value, values) {
  if (typeof value === 'string') return text(value, values);
  if (Array.isArray(value)) return value.map((inner) => fill(inner, values));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, fill(inner, values)]));
}

export function at(value, pointer) {
  return pointer.split('/').slice(1).reduce((found, word) => found[word], value);
}

export function begin(order, lists, visit) {
  const values = { run: order.run, visit: String(visit) };
  for (const [name, choices] of Object.entries({ ...order.table.values, ...lists })) values[name] = pick(choices);
  return values;
}

export function filled(order, step, values) {
  const body = step.body ? JSON.stringify(fill(step.body, values)) : null;
  const headers = { ...order.headers, ...fill(step.headers || {}, values) };
  if (body !== null) headers['Content-Type'] = 'application/json';
  if (step.signed) headers['X-Signature'] = `sha256=${crypto.hmac('sha256', order.secret, body, 'hex')}`;
  return { method: step.method, path: text(step.path, values), headers, body };
}

export function promised(step, values) {
  return step.promises ? { path: text(step.promises.path, values), headers: fill(step.promises.headers || {}, values) } : null;
}

export function kept(step, answer) {
  return Object.fromEntries(Object.entries(step.keep || {}).map(([name, pointer]) => [name, String(at(answer, pointer))]));
}

export function listed(lookup, answer) {
  const fits = (item) => Object.entries(lookup.where || {}).every(([name, value]) => item[name] === value);
  const found = at(answer, lookup.items).filter(fits).map((item) => String(at(item, lookup.pointer)));
  if (!found.length) throw new Error(`${lookup.path} has nothing that fits: start the platform with its demo data`);
  return found;
}
