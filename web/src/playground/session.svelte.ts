// The playground's state: a picture, settings, what it would cost, the run, its results. Survives a look at other pages.

import * as api from '../lib/api';
import { catalog } from '../lib/catalog.svelte';
import { differing, form } from '../lib/form';
import { dimensions } from '../lib/format';
import * as store from '../lib/history';
import { key } from '../lib/key.svelte';
import { measure, thumbnail } from '../lib/pixels';
import type { Card, Metadata, Value, Values } from '../lib/page-types';
import type { ImagesResponse, QuoteResponse } from '../lib/types';

export interface Picture {
  file: Blob;
  name: string;
  url: string;
  /** Null where this browser cannot show the format. */
  size: { width: number; height: number } | null;
}

export interface Result {
  blob: Blob | null;
  /** What the browser shows; null for formats that it does not know. */
  shown: string | null;
  link: string | null;
  format: string;
  caption: string | null;
  metadata: Metadata;
  width: number;
  height: number;
}

export interface Run {
  preview: string | null;
  done: number;
  total: number;
  started: number;
}

const PAUSE = 400;
const SEEDS = 2 ** 32;

class Session {
  modelId = $state('');
  card = $state.raw<Card | null>(null);
  values = $state<Values>({});
  picture = $state.raw<Picture | null>(null);
  mask = $state.raw<Blob | null>(null);
  quote = $state.raw<QuoteResponse | null>(null);
  quoting = $state(false);
  run = $state<Run | null>(null);
  results = $state.raw<Result[]>([]);
  chosen = $state(0);
  side = $state(false);
  failure = $state.raw<api.Failure | null>(null);
  refused = $state.raw<api.Failure | null>(null);
  history = $state.raw<store.Entry[]>([]);
  told = $state('');
  preview = $state<string | null>(null);

  form = $derived(this.card ? form(this.card) : null);
  sent = $derived(this.card ? differing(this.values, this.card) : {});
  result = $derived(this.results[this.chosen] ?? null);
  /** The parameter that the server did not take, and why; null where the page has no field for it. */
  marked = $derived.by(() => {
    const found = this.failure?.param ? this.failure : this.refused;
    return found?.param && this.#fielded(found.param) && !keyless(found) ? { param: found.param, message: found.message } : null;
  });

  #stop: AbortController | null = null;
  /** The request that the server goes on with when nobody waits for it. */
  #stored: string | null = null;
  #asked: AbortController | null = null;
  #timer = 0;

  async start(wanted: string | null): Promise<void> {
    this.history = await store.list();
    if (wanted || !this.modelId) await this.select(wanted ?? this.modelId);
  }

  async select(id: string): Promise<void> {
    const known = catalog.models.find((model) => model.id === id) ?? catalog.models.find((model) => model.available);
    const model = known ?? catalog.models[0];
    if (!model) return;
    this.modelId = model.id;
    if (this.failure?.param === 'model') this.failure = null;
    try {
      this.card = await catalog.card(model.id);
    } catch (error) {
      this.failure = asFailure(error);
      return;
    }
    const names = this.card.schema.properties;
    this.values = Object.fromEntries(Object.entries(this.values).filter(([name]) => name in names));
    if (!('mask' in names)) this.mask = null;
  }

  set(name: string, value: Value | undefined): void {
    const next = { ...this.values };
    if (value === undefined) delete next[name];
    else next[name] = value;
    this.values = next;
    if (this.failure?.param === name) this.failure = null;
    if (this.refused?.param === name) this.refused = null;
  }

  async choose(file: Blob, name: string): Promise<void> {
    const limit = catalog.page.limits?.max_upload_bytes;
    if (limit && file.size > limit) {
      this.failure = new api.Failure(`This file is larger than the ${Math.floor(limit / 1e6)} MB that the server takes.`, 'TOO_LARGE', 'image');
      return;
    }
    this.#leave();
    const url = URL.createObjectURL(file);
    const size = await measure(url);
    this.#forgetResults();
    if (this.picture) URL.revokeObjectURL(this.picture.url);
    this.mask = null;
    this.failure = null;
    this.refused = null;
    this.quote = null;
    this.picture = { file, name, url, size };
    this.told = `${name} is loaded.`;
  }

  async example(url: string): Promise<void> {
    try {
      await this.choose(await api.file(url), url.split('?')[0]?.split('/').pop() || 'example.jpg');
    } catch (error) {
      this.failure = asFailure(error);
    }
  }

  clear(): void {
    this.#leave();
    this.#forgetResults();
    if (this.picture) URL.revokeObjectURL(this.picture.url);
    this.picture = null;
    this.mask = null;
    this.quote = null;
    this.failure = null;
    this.refused = null;
  }

  /** Ask what the work would cost, a moment after the last change. */
  ask(): void {
    clearTimeout(this.#timer);
    this.#asked?.abort();
    const order = this.#order();
    this.quoting = order !== null;
    if (order) this.#timer = window.setTimeout(() => void this.#quote(order), PAUSE);
  }

  async upscale(): Promise<void> {
    const order = this.#order();
    if (!order || this.run) return;
    const stop = (this.#stop = new AbortController());
    this.failure = null;
    this.#forgetResults();
    this.run = { preview: null, done: 0, total: 0, started: Date.now() };
    this.told = 'Started.';
    try {
      const watch = {
        accepted: (id: string | null) => {
          if (this.#stop === stop) this.#stored = id;
          else this.#cancelStored(id, stop);
        },
        preview: (blob: Blob) => this.#previewed(blob),
        progress: (done: number, total: number) => {
          if (this.run) Object.assign(this.run, { done, total });
        },
      };
      const made = await api.edit(order, watch, stop.signal);
      const results = await Promise.all(made.map(received));
      if (this.#stop !== stop) return;
      this.#show(results);
      this.told = done(results);
      await this.#keep(order, results, key.value ? made[0]?.id : undefined);
    } catch (error) {
      if (this.#stop !== stop) return;
      this.failure = asFailure(error);
      this.told = this.failure.message;
    } finally {
      if (this.#stop === stop) {
        this.#stop = this.#stored = null;
        this.run = null;
      }
    }
  }

  /** End the work, also where the server would go on with it: then as soon as its id is known. */
  cancel(): void {
    const stop = this.#stop;
    if (!stop) return;
    if (this.#stored || !key.value) this.#cancelStored(this.#stored, stop);
    this.#stop = this.#stored = null;
    this.run = null;
    this.told = 'Cancelled.';
  }

  async again(values: Values = { seed: Math.floor(Math.random() * SEEDS) }): Promise<void> {
    this.values = { ...this.values, ...values };
    await this.upscale();
  }

  async open(entry: store.Entry): Promise<void> {
    if (entry.source) await this.choose(entry.source, entry.name);
    else this.clear();
    await this.select(entry.model);
    this.values = { ...entry.values };
    this.#show(await Promise.all(entry.results.map((kept) => opened(kept))));
  }

  /** Show the pictures of a request that the server keeps. */
  async openAnswer(answer: ImagesResponse): Promise<void> {
    const results = await Promise.all(api.pictures(answer).map(received));
    this.clear();
    this.#show(results);
  }

  async forget(entries: store.Entry[]): Promise<void> {
    for (const { id } of entries) await store.remove(id);
    this.history = await store.list();
  }

  #fielded(param: string): boolean {
    if (param === 'mask') return Boolean(this.form?.masked && this.picture?.size);
    const fields = [...(this.form?.common ?? []), ...(this.form?.groups.flatMap((group) => group.fields) ?? [])];
    return fields.some((field) => field.name === param);
  }

  #order(): api.Order | null {
    if (!this.picture || !this.card) return null;
    const { file, name } = this.picture;
    return { model: this.modelId, image: file, name, mask: this.mask, values: { ...this.sent } };
  }

  async #quote(order: api.Order): Promise<void> {
    const asked = (this.#asked = new AbortController());
    try {
      this.quote = await api.quote(order, asked.signal);
      this.refused = null;
    } catch (error) {
      if (asked.signal.aborted) return;
      this.quote = null;
      this.refused = asFailure(error);
    }
    this.quoting = false;
  }

  #previewed(blob: Blob): void {
    if (!this.run) return;
    if (this.preview) URL.revokeObjectURL(this.preview);
    this.preview = this.run.preview = URL.createObjectURL(blob);
  }

  #cancelStored(id: string | null, stop: AbortController): void {
    stop.abort();
    if (id) api.cancelRequest(id).catch((error: unknown) => (this.failure = asFailure(error)));
  }

  /** Wait no longer; what the server keeps is found in the history. */
  #leave(): void {
    this.#stop?.abort();
    this.#stop = this.#stored = null;
    this.run = null;
  }

  #show(results: Result[]): void {
    this.results = results;
    this.chosen = 0;
    this.side = results.length > 1;
  }

  #forgetResults(): void {
    for (const { blob, shown } of this.results) if (blob && shown) URL.revokeObjectURL(shown);
    if (this.preview) URL.revokeObjectURL(this.preview);
    this.preview = null;
    this.results = [];
    this.side = false;
  }

  async #keep(order: api.Order, results: Result[], request: string | undefined): Promise<void> {
    const first = results[0];
    if (!first) return;
    await store.add({
      id: api.unique(),
      request,
      created: Date.now(),
      model: order.model,
      name: order.name,
      values: order.values,
      size: `${first.width}x${first.height}`,
      thumb: await thumbnail(first.shown ?? this.picture?.url ?? ''),
      source: store.small(order.image),
      results: results.map(({ blob, format, caption, metadata }) => ({
        blob: store.small(blob),
        format,
        caption,
        metadata: JSON.parse(JSON.stringify(metadata)) as Metadata,
      })),
    });
    this.history = await store.list();
  }
}

/** Fetch a result so that it outlives its link; one that is seen in tiles stays where it is. */
async function received(made: api.Made): Promise<Result> {
  const blob = made.blob ?? (made.url && !made.metadata.deep_zoom ? await api.file(made.url) : null);
  return { ...(await opened({ ...made, blob })), link: made.url };
}

async function opened(kept: store.Entry['results'][number]): Promise<Result> {
  const told = dimensions(kept.metadata.size) ?? { width: 0, height: 0 };
  const url = kept.blob ? URL.createObjectURL(kept.blob) : null;
  const seen = url ? await measure(url) : null;
  return { ...kept, ...(seen ?? told), shown: seen ? url : null, link: null };
}

/** Return whether a failure is one that a key, or another key, would spare. */
export function keyless(failure: api.Failure): boolean {
  return failure.code === api.UNKNOWN_KEY || (failure.param === 'max_cost' && !key.value && !('max_cost' in session.sent));
}

function done(results: Result[]): string {
  const unmade = results[0]?.metadata.failures?.length ?? 0;
  const versions = unmade ? `${results.length} of ${results.length + unmade} versions, ` : results.length > 1 ? `${results.length} versions, ` : '';
  return `Done: ${versions}${results[0]?.metadata.size ?? ''}.`;
}

export function asFailure(error: unknown): api.Failure {
  if (error instanceof api.Failure) return error;
  return new api.Failure('Something went wrong on this page.', 'PAGE');
}

export const session = new Session();
