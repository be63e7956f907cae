"""The captioner's question, the cleaning of its answer, and the joining of prompt and caption. Pure."""

from __future__ import annotations

import re

RECIPE = (
    "Describe this in one paragraph of at most {words} words. Begin with the medium, such as photograph, oil painting, "
    "3D render, anime or diagram. Then name the subjects, their materials and surface textures, the light, and what is "
    "in focus and what is behind it. Copy any visible text in double quotes. Use plain facts and no praise. Do not "
    "speak of blur, pixels, noise, compression or resolution."
)
"""The question to an instruction-tuned model."""

LETTERS = 12
"""Most characters of a caption for each word that it may have."""
HALF = 0.5
"""Share of a too long caption that its last whole sentence must keep; otherwise it is cut within a sentence."""

QUOTED = re.compile(r'"[^"]*"|“[^”]*”')
HELD = re.compile(r"\ue000(\d+)\ue001")
UNPRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd\ue000\ue001]+|<\|[^|>]*\|>|</?s>|<pad>")
OPENING = re.compile(
    r"^(?:(?:here is|sure)[^:]*:\s*)?(?:in\s+)?(?:this|the)\s+(?:image|picture|scene)\b\s*,?\s*"
    r"(?:is\s+(?=an?\s)|shows|depicts|features|captures|presents|displays|contains|of)?\b\s*",
    re.IGNORECASE,
)
DEGREE = r"(?:(?:very|slightly|somewhat|quite|extremely|heavily|highly|rather|a bit|a little)\s+)*"
ADJECTIVE = (
    rf"{DEGREE}(?:blurry|blurred|pixell?ated|noisy|grainy|unsharp|degraded|"
    r"(?:low|poor)[- ](?:res(?:olution)?|quality)|(?:jpe?g[- ]|heavily )compressed)\b"
)
FLAWED = re.compile(
    rf"(?:\b(?P<article>an?)\s+)?\b{ADJECTIVE}(?:(?:\s*,\s*|\s+)(?:and\s+)?{ADJECTIVE})*\s*(?:,\s*)?(?P<next>\w)?",
    re.IGNORECASE,
)
FLAW = re.compile(
    rf"\b(?:blur(?:riness|ring)?|pixels?\b(?!\s+art)|pixell?ation|artifacts?|artefacts?|compression|graininess|"
    r"(?:image|digital|visual|colou?r|sensor|visible)\s+noise|image quality|"
    r"(?:of|in|at|the|with|its)\s+(?:\w+\s+)?resolution|"
    rf"(?:is|are|was|looks?|appears?|seems?)\s+{ADJECTIVE}(?!\s+\w))\b",
    re.IGNORECASE,
)
DANGLING = re.compile(r"\s*(?:,|\b(?:and|but|with))\s*$", re.IGNORECASE)
SENTENCE = re.compile(r"(?<=[.!?])\s+")
CLAUSE = re.compile(r"\s*[,;]\s*")


def clean_caption(said: str, words: int) -> str:
    """Return one line of at most `words` words, without remarks on the picture's flaws; quotations are not changed."""
    text = " ".join(UNPRINTED.sub(" ", said).split())
    quotes: list[str] = []

    def hold(found: re.Match[str]) -> str:
        quotes.append(found.group())
        return f"\ue000{len(quotes) - 1}\ue001"

    sentences = (_remove_flaws(sentence) for sentence in SENTENCE.split(QUOTED.sub(hold, text)))
    text = OPENING.sub("", " ".join(sentence for sentence in sentences if sentence))
    text = HELD.sub(lambda found: quotes[int(found.group(1))], text)
    return _cut_words(text[:1].upper() + text[1:], words)


def compose_prompt(caption: str, prompt: str) -> str:
    """Return the text that guides the network: the user's prompt, then the caption, on one line.

    The prompt comes first because networks cut long texts at the end: the caption is cut, never the user's prompt.
    """
    prompt, caption = " ".join(prompt.split()), " ".join(caption.split())
    if not prompt or not caption or prompt == caption:
        return prompt or caption
    stop = "" if prompt[-1] in ".!?…:;," else "."
    return f"{prompt}{stop} {caption}"


def _remove_flaws(sentence: str) -> str:
    """Return a sentence without clauses about flaws and without adjectives that name one."""
    stop = sentence[-1] if sentence.endswith((".", "!", "?")) else ""
    clauses = CLAUSE.split(sentence.removesuffix(stop))
    kept = ", ".join(clause.strip() for clause in clauses if clause.strip() and not FLAW.search(clause))
    found = DANGLING.sub("", FLAWED.sub(_fix_article, kept)).strip()
    return found[:1].upper() + found[1:] + stop if found else ""


def _fix_article(found: re.Match[str]) -> str:
    following = found["next"] or ""
    if not found["article"]:
        return following
    right = "an" if following and following in "aeiouAEIOU" else "a"
    return f"{right.capitalize() if found['article'][0] == 'A' else right} {following}"


def _cut_words(text: str, words: int) -> str:
    kept = " ".join(text.split()[:words])[: words * LETTERS]
    if kept == text:
        return text
    ends = [found.end() for found in re.finditer(r"[.!?](?=\s|$)", kept)]
    if ends and ends[-1] >= HALF * len(kept):
        return kept[: ends[-1]]
    return kept.rstrip(" ,;:-–.!?") + "."
