// How pages keep up: they ask again and again while somebody looks.
import { useEffect, useState } from "./vendor/preact.js";

/**
 * Calls `work` now, and every so many seconds while the page is seen, until `signal` ends. A failure of the first call is
 * the caller's. The frame of the page tells of later ones, and hears when they are over.
 */
export async function repeat(seconds, work, signal) {
  let timer;
  const again = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    try {
      if (!document.hidden) await work();
      if (!signal.aborted) dispatchEvent(new CustomEvent("trouble", { detail: null }));
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      dispatchEvent(new CustomEvent("trouble", { detail: error }));
    }
    wait();
  };
  const wait = () => { if (!signal.aborted && seconds > 0) timer = setTimeout(again, seconds * 1000); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && seconds > 0) again(); }, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  try {
    if (!document.hidden) await work();
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    wait();
    throw error;
  }
  wait();
}

/**
 * The newest answer of `load(signal)`, which is asked anew when `key` changes; null before the first. An answer to what
 * is asked no more never replaces a newer one.
 */
export function usePolling(load, seconds, key) {
  const [answer, setAnswer] = useState(null);
  useEffect(() => {
    const ending = new AbortController();
    const { signal } = ending;
    const work = async () => {
      const found = await load(signal);
      if (!signal.aborted) setAnswer(found);
    };
    repeat(seconds, work, signal).catch((error) => dispatchEvent(new CustomEvent("trouble", { detail: error })));
    return () => ending.abort();
  }, [key]);
  return answer;
}
