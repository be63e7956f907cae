// The form is the schema: which control a parameter gets, where it stands, and which values are worth sending.

import type { Card, Mode, Property, Value, Values } from './page-types';

export type Control = 'slider' | 'number' | 'segments' | 'select' | 'switch' | 'text' | 'area';

export interface Badge {
  provider: string;
  mode: Mode;
  sent: boolean;
  becomes: string;
  note: string;
  configured: boolean;
}

export interface Field {
  name: string;
  group: string;
  help: string;
  control: Control;
  property: Property;
  step: number;
  badges: Badge[];
  /** Whether any provider of this server does something with it. */
  useful: boolean;
  /** The command line's word for it. */
  flag: string | undefined;
}

export interface Form {
  common: Field[];
  groups: { name: string; fields: Field[] }[];
  masked: boolean;
}

/** What stands for a parameter that is left to the server; no parameter has such a value. */
export const UNSET = 'not set';

/** How the page itself asks for its answers; nobody sets these by hand here. */
const OWN = new Set(['model', 'response_format', 'stream', 'partial_images']);
/** What most people set, in the order in which they think of it. */
const FIRST = ['scale_factor', 'creativity', 'prompt', 'output_format', 'n'];
const SEGMENTS = 6;
const LONG = 1000;
const SLIDABLE = 100;

export function form(card: Card): Form {
  const fields = Object.entries(card.schema.properties)
    .filter(([name, property]) => !OWN.has(name) && property.format !== 'binary' && property.const === undefined)
    .map(([name, property]) => field(name, property, card));
  const first = FIRST.flatMap((name) => fields.find((one) => one.name === name && one.useful) ?? []);
  const rest = fields.filter((one) => !first.includes(one));
  const names = [...new Set(rest.map((one) => one.group))];
  return {
    common: first,
    groups: names.map((name) => ({ name, fields: rest.filter((one) => one.group === name) })),
    masked: 'mask' in card.schema.properties,
  };
}

function field(name: string, property: Property, card: Card): Field {
  const badges = modes(name, card);
  const mine = badges.filter((badge) => badge.configured);
  return {
    name,
    group: property['x-group'] ?? 'Other',
    help: property.description,
    control: control(property),
    property,
    step: step(property),
    badges,
    useful: mine.length === 0 || mine.some((badge) => badge.sent || badge.mode !== 'passthrough'),
    flag: property['x-flag'],
  };
}

/** Return what becomes of a parameter at each offer. */
export function modes(name: string, card: Card): Badge[] {
  return card.offers.flatMap((offer) => {
    const found = card.parameters.find((one) => one.provider === offer.provider)?.parameters[name];
    if (!found) return [];
    const becomes = found.upstream_names.join(', ') || (found.mode === 'emulated' ? 'done here' : found.sent ? name : 'not sent');
    const { mode, sent, note } = found;
    return [{ provider: offer.provider, configured: offer.configured, mode, sent, note, becomes }];
  });
}

export function control(property: Property): Control {
  if (property.type === 'boolean') return 'switch';
  if (property.enum) {
    const letters = property.enum.join('').length;
    return property.enum.length <= SEGMENTS && letters <= 28 ? 'segments' : 'select';
  }
  if (property.type === 'string') return (property.maxLength ?? 0) >= LONG ? 'area' : 'text';
  const { minimum, maximum } = property;
  const bounded = minimum !== undefined && maximum !== undefined && maximum - minimum <= SLIDABLE;
  return bounded && property.default !== undefined ? 'slider' : 'number';
}

function step({ type, minimum = 0, maximum = 1 }: Property): number {
  if (type === 'integer') return 1;
  return maximum - minimum <= 1 ? 0.05 : 0.1;
}

/** Return the values that say more than silence does: given, known to the model, and not its defaults. */
export function differing(values: Values, card: Card): Values {
  const entries = Object.entries(values).filter(([name, value]) => {
    const property = card.schema.properties[name];
    return property && !OWN.has(name) && value !== '' && value !== property.default;
  });
  return Object.fromEntries(entries);
}

/** Return a typed text as the parameter's value, undefined for nothing. */
export function typed(text: string, property: Property): Value | undefined {
  if (text.trim() === '') return undefined;
  if (property.type !== 'integer' && property.type !== 'number') return text;
  const value = Number(text.replace(',', '.'));
  return Number.isFinite(value) ? value : text;
}

/** Return what a parameter takes, in a few words. */
export function range(property: Property): string {
  if (property.enum) return property.enum.join(', ');
  const { minimum, maximum } = property;
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`;
  if (property.type === 'boolean') return 'true or false';
  if (property.format === 'binary') return 'a picture';
  return property.maxLength === undefined ? 'text' : `text, at most ${property.maxLength.toLocaleString('en')} characters`;
}
