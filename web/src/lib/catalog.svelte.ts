// The models and what the server says of itself, asked for once.

import * as api from './api';
import type { Card, Page } from './page-types';
import type { ModelEntry } from './types';

class Catalog {
  models = $state<ModelEntry[]>([]);
  page = $state<Page>({});
  failure = $state<string | null>(null);
  /** Whether nothing is told without a key, or without another one. */
  locked = $state(false);
  #cards = new Map<string, Promise<Card>>();

  async load(): Promise<void> {
    const told = api.page().then((page) => (this.page = page));
    try {
      this.models = await api.models();
      this.failure = null;
      this.locked = false;
    } catch (error) {
      this.locked = error instanceof api.Failure && error.code === api.UNKNOWN_KEY;
      this.failure = error instanceof Error ? error.message : String(error);
    }
    await told;
  }

  card(id: string): Promise<Card> {
    const found = this.#cards.get(id) ?? api.card(id);
    this.#cards.set(id, found);
    found.catch(() => this.#cards.delete(id));
    return found;
  }
}

export const catalog = new Catalog();
