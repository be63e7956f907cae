// What this browser made, kept in IndexedDB: settings and receipts always, pictures while they are small enough.

import type { Metadata, Values } from './page-types';

export interface Entry {
  id: string;
  /** The id of its request, where the server keeps it, too. */
  request?: string | undefined;
  created: number;
  model: string;
  name: string;
  values: Values;
  size: string;
  thumb: Blob | null;
  source: Blob | null;
  results: { blob: Blob | null; format: string; caption: string | null; metadata: Metadata }[];
}

export const KEPT = 20_000_000;
const MOST = 40;
const STORE = 'runs';

let opened: Promise<IDBDatabase> | null = null;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('fluxvision', 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run<T>(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const store = (await database()).transaction(STORE, mode).objectStore(STORE);
  return new Promise((resolve, reject) => {
    const request = ask(store);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Return all entries, the newest first; none where the browser keeps nothing. */
export async function list(): Promise<Entry[]> {
  const found = await run<Entry[]>('readonly', (store) => store.getAll()).catch(() => []);
  return found.sort((one, other) => other.created - one.created);
}

/** Keep an entry and let the oldest go; a browser without room keeps what it can. */
export async function add(entry: Entry): Promise<void> {
  await run('readwrite', (store) => store.put(entry)).catch(() => undefined);
  for (const old of (await list()).slice(MOST)) await remove(old.id);
}

export async function remove(id: string): Promise<void> {
  await run('readwrite', (store) => store.delete(id)).catch(() => undefined);
}

export function small(blob: Blob | null): Blob | null {
  return blob && blob.size < KEPT ? blob : null;
}
