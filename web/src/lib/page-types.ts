// Types of the page's own, and what the server's types leave open: the JSON Schema of a request, and older receipts.

import type { ModeEntry, ModelCard, PageFacts, ResultMetadata } from './types';

export type Mode = ModeEntry['mode'];
export type Value = string | number | boolean;
export type Values = Record<string, Value>;

/** A parameter in the JSON Schema of a request. */
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

export type Card = Omit<ModelCard, 'schema'> & { schema: Schema };

/** As the server sends it, or as this browser kept it from an earlier version; with the provider's own details. */
export type Metadata = Partial<ResultMetadata> & { [name: string]: unknown };

/** Empty where the server does not answer. */
export type Page = Partial<PageFacts>;
