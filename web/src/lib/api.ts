// The server's API as functions. Each request carries the key of this tab, or says that it is the page without one.

import { key, sender } from './key.svelte';
import { messages, progress } from './sse';
import type { Card, Metadata, Page, Values } from './page-types';
import type { AttemptEntry, ImagesResponse, ModelEntry, QuoteResponse, RequestList, RequestObject } from './types';

/** The code of the error that a key would have spared, or another key. */
export const UNKNOWN_KEY = 'AUTHENTICATION_FAILED';

/** What went wrong, in the server's words; `param` names the parameter to mark. */
export class Failure extends Error {
  constructor(
    message: string,
    readonly code: string = 'UNKNOWN',
    readonly param: string | null = null,
    readonly retryAfter: number | null = null,
    readonly attempts: AttemptEntry[] = [],
  ) {
    super(message);
  }
}

export interface Order {
  model: string;
  image: Blob;
  name: string;
  mask: Blob | null;
  values: Values;
}

export interface Made {
  /** The request's id. */
  id: string;
  url: string | null;
  blob: Blob | null;
  format: string;
  caption: string | null;
  metadata: Metadata;
}

export interface Watch {
  /** The server begins to answer; a request with an id goes on when nobody waits for it. */
  accepted(id: string | null): void;
  preview(picture: Blob): void;
  progress(done: number, total: number): void;
}

/** Return all models, those that nobody here can make too; not their aliases. */
export async function models(as = key.value): Promise<ModelEntry[]> {
  const { data } = await json<{ data: ModelEntry[] }>('/v1/models?all=true', { headers: sender(as) });
  return data.filter((one) => one.id === one.root);
}

export function card(id: string): Promise<Card> {
  return json<Card>(`/v1/models/${encodeURIComponent(id)}?schema=true`);
}

/** Return what the server says of itself; nothing where it does not. */
export async function page(): Promise<Page> {
  return json<Page>('/v1/page').catch(() => ({}));
}

export function quote(order: Order, signal: AbortSignal): Promise<QuoteResponse> {
  return json<QuoteResponse>('/v1/images/edits?dryRun=true', { method: 'POST', body: body(order, {}), signal });
}

/**
 * Ask for the pictures and tell of them as they come; returns when the last one is there.
 *
 * With a key the server keeps the request and its answer: that is what an idempotency key is for.
 */
export async function edit(order: Order, watch: Watch, signal: AbortSignal): Promise<Made[]> {
  const stream = { stream: 'true', partial_images: '1', response_format: 'url' };
  const keyed = key.value !== '';
  const headers = { ...sender(key.value), ...(keyed ? { 'Idempotency-Key': unique() } : {}) };
  const response = await send('/v1/images/edits', { method: 'POST', body: body(order, stream), headers, signal });
  watch.accepted(keyed ? response.headers.get('x-request-id') : null);
  if (!response.body) throw new Failure('The server sent no answer.');
  const made: Made[] = [];
  for await (const message of messages(response.body)) {
    if (message.kind === 'comment') {
      const far = progress(message.text);
      if (far) watch.progress(far.done, far.total);
      continue;
    }
    const data = JSON.parse(message.data);
    if (message.name === 'error' || data.error) throw failure(data);
    if (message.name.endsWith('partial_image')) watch.preview(picture(data.b64_json, data.output_format));
    if (message.name.endsWith('completed')) made.push(finished(data));
  }
  if (!made.length) throw new Failure('The connection ended before the picture was there.', 'INTERRUPTED');
  return made;
}

/** Return a page of the key's requests, the newest first; those before `cursor`. */
export function requests(limit: number, cursor: string | null = null): Promise<RequestList> {
  const query = new URLSearchParams({ limit: String(limit), ...(cursor ? { cursor } : {}) });
  return json<RequestList>(`/v1/requests?${query}`);
}

/** Return a request with its answer. */
export function request(id: string): Promise<RequestObject> {
  return json<RequestObject>(`/v1/requests/${id}`);
}

export function cancelRequest(id: string): Promise<RequestObject> {
  return json<RequestObject>(`/v1/requests/${id}`, { method: 'DELETE' });
}

/** Delete what a request was answered, pictures included. */
export function deleteAnswer(id: string): Promise<RequestObject> {
  return json<RequestObject>(`/v1/requests/${id}/payloads`, { method: 'DELETE' });
}

/** Return the pictures of an answer with links. */
export function pictures({ id, data, output_format: format, metadata }: ImagesResponse): Made[] {
  const zooms = (metadata as Metadata)['deep_zooms'];
  return data.map((entry, at) =>
    finished({ ...entry, id, output_format: format, metadata, deep_zoom: Array.isArray(zooms) ? zooms[at] : undefined }),
  );
}

/** Return an id that was never used; also where the page is not served by HTTPS. */
export function unique(): string {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}

/** Fetch a result or an example of this server; its address is all that it needs. */
export async function file(url: string): Promise<Blob> {
  return (await send(local(url), { headers: {} })).blob();
}

/** Return the address of a result on this origin, whatever name the server has for itself. */
export function local(url: string): string {
  const found = new URL(url, location.origin);
  return found.pathname + found.search;
}

function finished(data: Record<string, unknown>): Made {
  const format = String(data['output_format'] ?? 'png');
  const inline = data['b64_json'];
  const metadata = (data['metadata'] ?? {}) as Metadata;
  const deep = data['deep_zoom'];
  return {
    id: String(data['id'] ?? ''),
    url: typeof data['url'] === 'string' ? local(data['url']) : null,
    blob: typeof inline === 'string' && inline !== '' ? picture(inline, format) : null,
    format,
    caption: typeof data['revised_prompt'] === 'string' ? data['revised_prompt'] : null,
    metadata: typeof deep === 'string' ? { ...metadata, deep_zoom: deep } : metadata,
  };
}

function picture(b64: string, format: string): Blob {
  const text = atob(b64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new Blob([bytes], { type: `image/${format}` });
}

function body(order: Order, more: Record<string, string>): FormData {
  const data = new FormData();
  data.set('model', order.model);
  for (const [name, value] of Object.entries({ ...order.values, ...more })) data.set(name, String(value));
  data.set('image', order.image, order.name);
  if (order.mask) data.set('mask', order.mask, 'mask.png');
  return data;
}

async function json<T>(path: string, init: RequestInit = {}): Promise<T> {
  return (await send(path, init)).json() as Promise<T>;
}

async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { headers: sender(key.value), ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Failure('The server cannot be reached.', 'UNREACHABLE');
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw failure(told, Number(response.headers.get('retry-after')) || null, response.status);
}

function failure(data: Record<string, unknown>, retryAfter: number | null = null, status = 0): Failure {
  const error = (data['error'] ?? {}) as { message?: string; code?: string; param?: string | null };
  const attempts = ((data['metadata'] ?? {}) as Metadata).attempts ?? [];
  const message = error.message ?? `The server answered with status ${status}.`;
  return new Failure(message, error.code, error.param ?? null, retryAfter, attempts);
}
