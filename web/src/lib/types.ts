// What the server says, as far as the page reads it. Money of offers is in dollars, that of quotes in micro-dollars.

export type Mode = 'passthrough' | 'renamed' | 'converted' | 'emulated';
export type Value = string | number | boolean;
export type Values = Record<string, Value>;

export interface Property {
  type: 'string' | 'integer' | 'number' | 'boolean';
  description: string;
  format?: string;
  default?: Value;
  enum?: string[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  const?: string;
  'x-group'?: string;
  'x-flag'?: string;
  'x-modes'?: Record<string, Mode>;
}

export interface Schema {
  properties: Record<string, Property>;
  required: string[];
}

export interface Price {
  metric: 'image' | 'output_megapixel' | 'input_megapixel' | 'second';
  unit_price: number | null;
  unit: number;
  rounding: 'none' | 'up' | 'up_min_1';
  block: number;
  tiers: { upto: number | null; unit_price: number }[];
  currency: string;
  text: string;
}

export interface Factors {
  low: number;
  high: number;
  only: number[];
}

export interface Offer {
  provider: string;
  upstream: string;
  configured: boolean;
  generative: boolean;
  factors: Factors | null;
  price: Price;
  estimate_per_megapixel: number | null;
  note: string;
}

export interface ModeOf {
  mode: Mode;
  upstream_names: string[];
  sent: boolean;
  note: string;
}

export interface OfferModes {
  provider: string;
  upstream: string;
  parameters: Record<string, ModeOf>;
}

export interface Model {
  id: string;
  created: number;
  owned_by: string;
  name: string;
  description: string;
  tags: string[];
  aliases: string[];
  capabilities: string[];
  available: boolean;
  offers: Offer[];
}

export interface Card extends Model {
  schema: Schema;
  parameters: OfferModes[];
}

export interface Line {
  parameter: string;
  mode: Mode;
  from: unknown;
  to: unknown;
  note: string;
  honoured: boolean;
}

export interface Cost {
  provider: string;
  total_cost_micros: number | null;
}

export interface Quote {
  model: string;
  provider: string;
  total_cost_micros: number | null;
  size: string;
  normalization: Line[];
  alternatives: Cost[];
  /** Who cannot do this request, and why. */
  excluded?: { provider: string; reason: string }[];
  /** Who would do it for somebody with a key. */
  with_key?: Cost[];
}

export interface Attempt {
  provider: string;
  outcome: string;
  duration: number;
  cost: number | null;
  message?: string;
}

/** A version that could not be made. */
export interface Unmade {
  index: number;
  seed: number | null;
  code: string;
  message: string;
}

export interface Fidelity {
  lr_psnr_db?: number | null;
  seam_ratio?: number | null;
  delta_e?: number | null;
  [name: string]: number | null | undefined;
}

export interface Metadata {
  model?: string;
  executed_model?: string;
  provider?: string;
  provider_name?: string;
  cost?: number | null;
  size?: string;
  seed?: number | null;
  seeds?: (number | null)[];
  attempts?: Attempt[];
  normalization?: Line[];
  failures?: Unmade[];
  fidelity?: Fidelity | null;
  warnings?: string[];
  timings?: Record<string, number>;
  degraded?: boolean;
  deep_zoom?: string;
  [name: string]: unknown;
}

export interface Example {
  name: string;
  title: string;
  url: string;
  width?: number;
  height?: number;
}

export interface GalleryPicture {
  title: string;
  before: string;
  after: string;
  width?: number;
  height?: number;
  settings?: Record<string, unknown>;
  /** LR-PSNR in dB, or all that was measured. */
  fidelity?: Fidelity | number | null;
  command?: string;
}

export interface Page {
  version?: string;
  /** Whether it works without a key. */
  playground?: boolean;
  /** Whether the server has keys at all. */
  keys?: boolean;
  budget?: { spends?: boolean; per_request?: number | null; per_day?: number | null };
  limits?: { max_upload_bytes?: number; max_input_pixels?: number; max_output_pixels?: number };
  examples?: Example[];
  gallery?: Record<string, GalleryPicture[]>;
}
