// The requests that the server keeps of this tab's key, the newest first.

import * as api from '../lib/api';
import { key } from '../lib/key.svelte';
import type { RequestObject } from '../lib/types';
import { asFailure, session } from './session.svelte';

const PAGE = 20;
const MOST = 100;
const ACTIVE = ['queued', 'running', 'cancelling'];
/** Milliseconds between two looks at the list, while something is worked on and otherwise. */
const OFTEN = 2_000;
const SELDOM = 15_000;

class Requests {
  rows = $state.raw<RequestObject[]>([]);
  more = $state(false);
  /** Whether the server has answered for this key, one way or the other. */
  asked = $state(false);
  /** Why the list could not be had. */
  failure = $state.raw<api.Failure | null>(null);
  /** Why something could not be done with a request. */
  trouble = $state.raw<{ id: string; message: string } | null>(null);
  #key = '';

  /** Look at the list now and again while the window shows it; returns what ends that. */
  follow(): () => void {
    if (this.#key !== key.value) this.#reset();
    let timer = 0;
    let ended = false;
    const look = async (): Promise<void> => {
      clearTimeout(timer);
      if (document.visibilityState === 'hidden') return;
      await this.refresh();
      clearTimeout(timer);
      if (!ended) timer = window.setTimeout(look, (session.run || this.rows.some(active)) && !this.failure ? OFTEN : SELDOM);
    };
    void look();
    document.addEventListener('visibilitychange', look);
    return () => {
      ended = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', look);
    };
  }

  /** Ask anew for the rows that are shown, and those that are newer. */
  refresh(): Promise<void> {
    return this.#ask(async () => {
      const limit = Math.min(MOST, Math.max(PAGE, this.rows.length));
      const { data, has_more } = await api.requests(limit);
      const found = new Set(data.map((row) => row.id));
      const older = has_more ? this.rows.filter((row) => !found.has(row.id)) : [];
      if (!older.length) this.more = has_more;
      return [...data, ...older];
    });
  }

  /** Ask for the requests before the last one. */
  older(): Promise<void> {
    return this.#ask(async () => {
      const { data, has_more } = await api.requests(PAGE, this.rows.at(-1)?.id);
      this.more = has_more;
      return [...this.rows, ...data];
    });
  }

  async open(row: RequestObject): Promise<boolean> {
    const kept = session.history.find((entry) => entry.request === row.id);
    return this.#do(row, async () => {
      if (kept?.results.every((result) => result.blob)) return session.open(kept);
      const found = await api.request(row.id);
      if (!found.response) throw new api.Failure(found.error?.message ?? 'The server does not keep this picture.');
      await session.openAnswer(found.response);
    });
  }

  cancel(row: RequestObject): Promise<boolean> {
    return this.#do(row, async () => {
      this.#replace(await api.cancelRequest(row.id));
      session.told = 'Cancelled.';
    });
  }

  /** Delete the pictures of a request, here and on the server; the row and its cost stay. */
  remove(row: RequestObject): Promise<boolean> {
    return this.#do(row, async () => {
      this.#replace(await api.deleteAnswer(row.id));
      const kept = session.history.find((entry) => entry.request === row.id);
      if (kept) await session.forget([kept]);
      session.told = 'Deleted.';
    });
  }

  #reset(): void {
    this.#key = key.value;
    this.rows = [];
    this.more = this.asked = false;
    this.failure = this.trouble = null;
  }

  #replace(row: RequestObject): void {
    this.rows = this.rows.map((old) => (old.id === row.id ? row : old));
  }

  async #ask(rows: () => Promise<RequestObject[]>): Promise<void> {
    const asker = this.#key;
    const [found, failure] = await rows().then(
      (list) => [list, null] as const,
      (error: unknown) => [this.rows, asFailure(error)] as const,
    );
    if (this.#key !== asker) return;
    this.rows = found;
    this.failure = failure;
    this.asked = true;
  }

  /** Do something with a request and keep why it could not be done; return whether it was. */
  async #do(row: RequestObject, work: () => Promise<void>): Promise<boolean> {
    this.trouble = null;
    try {
      await work();
    } catch (error) {
      this.trouble = { id: row.id, message: asFailure(error).message };
    }
    return !this.trouble;
  }
}

export function active(row: RequestObject): boolean {
  return ACTIVE.includes(row.status);
}

export const requests = new Requests();
