"""Compare a short answer with gold answers: numbers as numbers, else nearly as SQuAD (Rajpurkar 2016).

SQuAD's normalisation drops all punctuation, and with it what tells -5 from 5, 1.5 from 15, 1/2 from 12,
and C++ from C; an answer that is an article ("A", one of four choices) is nothing at all then. Here such
marks stay.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

_ARTICLES = {"a", "an", "the"}
_ALIKE = str.maketrans(
    dict.fromkeys("−–‐‑﹣－", "-")
    | dict.fromkeys("⁄∕", "/")
    | {"＋": "+", "×": "x", "·": "*", "’": "'", "≤": "<=", "≥": ">="}
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
_GROUPS = re.compile(r"(?<=\d)['_\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_NUMBER = re.compile(rf"(?<![\w.,/:-])([-+]?)\$?({_DECIMAL})(e[-+]?\d{{1,2}})?(?!\w|[.,/:]\d)")
_SYMBOL = r"(?:[(∞\\]|(?:[^\W\d_]|pi|sqrt|ln|log|exp|sin|cos|tan|inf|infinity)(?![^\W_]))"
_PUNCTUATION = re.compile(
    rf"""(                                # what carries a meaning:
        (?<=\d)\s*[-+*/:^=<>]\s*(?=[\d.])  # 1/2, 10:30, 1990-1995, 5 + 3
      | (?<=\d)[.,](?=\d)                  # 3.4.5
      | (?<!\w)-(?=[$€£]?\.?\d)            # a sign
      | (?<!\w)(?<!\w\s)-(?={_SYMBOL})      # of -x, not of a list's item
      | (?<!\w)[<>]=?\s*(?=[$€£]?-?\.?\d)   # < 5
      | (?<!\w)\.(?=\d)                    # .5km
      | (?<=\w)\s*[+=<>^]+\s*(?=[\w-])     # x + 1
      | (?<=\w)[+#]+(?!\w)                 # C++, C#
      | (?<=\b[a-z])-(?!\w)                # B-
    ) | [{re.escape(string.punctuation)}]""",
    re.X,
)
_WHOLE = re.compile(
    rf"""(?:(?P<name>[^\W\d]\w{{0,15}})\s*=\s*)?
        (?P<sign>[-+]|minus\s|negative\s)?\s*(?P<inner>-)?
        (?:(?P<units>\d{{1,9}})\s+(?=\d+\s*/))?
        (?P<number>{_DECIMAL})
        (?:\s*/\s*(?P<below>{_DECIMAL}))?
        (?:e(?P<exponent>[-+]?\d{{1,2}})|\s*[x*]\s*10\s*(?:(?:\^|\*\*)\s*(?P<power>[-+]?\d{{1,2}})|(?P<raised>[⁰-⁹¹²³⁻⁺]{{1,3}})))?
        \s*(?P<percent>%|percent|per\ cent)?""",
    re.X,
)
_LONGEST = 64  # characters of a number; what is longer is text


def normalise_answer(text: str) -> str:
    """SQuAD's own normalisation: lower case, no punctuation, no articles, single spaces."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1.0 if the answer is the same as one of the gold answers, else 0.0."""
    return float(any(_same(answer, text) for text in gold))


def f1(answer: str, gold: Sequence[str]) -> float:
    """Token F1 against the best gold answer, over the words that are compared."""
    return max((_f1(answer, text) for text in gold), default=0.0)


def squad_exact_match(answer: str, gold: Sequence[str]) -> float:
    """SQuAD's own: 1.0 if one gold answer is the same after its normalisation, else 0.0."""
    return float(any(normalise_answer(answer) == normalise_answer(text) for text in gold))


def squad_f1(answer: str, gold: Sequence[str]) -> float:
    """SQuAD's own: F1 of the words after its normalisation, against the best gold answer; 0 without any."""
    words = Counter(normalise_answer(answer).split())
    others = [Counter(normalise_answer(text).split()) for text in gold]
    return max(
        (2 * (words & other).total() / max(1, words.total() + other.total()) for other in others), default=0.0
    )


def answer_words(text: str) -> list[str]:
    """The words of a text as they are compared: lower case, without punctuation and articles.

    Numbers are written in one way (1,000.0 is 1000) and keep sign and point; a text of nothing but
    punctuation, or of nothing but articles, keeps them.
    """
    text = _GROUPS.sub("", text.lower().translate(_ALIKE))
    text = _NUMBER.sub(_plain, text)
    words = _PUNCTUATION.sub(lambda match: "".join((match[1] or "").split()), text).split() or text.split()
    return [word for word in words if word not in _ARTICLES] or words


@dataclass(frozen=True)
class _Number:
    """A text that is one number: `x = 5` has a name, `50%` is percent."""

    value: Fraction
    percent: bool
    name: str | None


def _same(answer: str, gold: str) -> bool:
    number, other = _number(answer), _number(gold)
    if number is None or other is None:
        return answer_words(answer) == answer_words(gold)
    if number.name and other.name and number.name != other.name:
        return False
    # A percent sign may be left out, as in SQuAD, or be worked out.
    if number.percent == other.percent:
        return _equal(number.value, other.value)
    part, whole = (number, other) if number.percent else (other, number)
    return _equal(part.value, whole.value) or _equal(part.value / 100, whole.value)


def _equal(left: Fraction, right: Fraction) -> bool:
    """Equal, or what floating point makes of it (0.1 + 0.2)."""
    if left.denominator == right.denominator == 1:
        return left == right
    return abs(left - right) <= max(abs(left), abs(right)) * Fraction(1, 10**14)


def _number(text: str) -> _Number | None:
    """The number that a text is, whatever is around it (quotes, brackets, LaTeX, a full stop); else None."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    # One form of what can be written in several.
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text.lower().translate(_ALIKE))
    text = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text).replace("\\times", "x")
    text = _GROUPS.sub("", re.sub(r"[\\${}]", "", text))
    text = text.strip(" \t\r\n\"'`*_()[]~≈:“”‘«»").rstrip(".,;!? ").lstrip("=# ")
    if re.fullmatch(r"[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?", text):
        text = text.replace(" ", "")
    # A code such as 007 is none.
    match = _WHOLE.fullmatch(text)
    if match is None or re.match(r"0\d", match["number"]):
        return None
    value = _fraction(match["number"])
    if match["below"]:
        if not _fraction(match["below"]):
            return None
        value = value / _fraction(match["below"]) + int(match["units"] or 0)
    power = match["exponent"] or match["power"] or (match["raised"] or "0").translate(_RAISED)
    if not re.fullmatch(r"[-+]?\d+", power):
        return None
    value *= Fraction(10) ** int(power)
    negative = (match["sign"] or "+") != "+" or match["inner"]
    return _Number(-value if negative else value, bool(match["percent"]), match["name"])


def _fraction(digits: str) -> Fraction:
    return Fraction(Decimal(digits.replace(",", "")))


def _plain(match: re.Match[str]) -> str:
    """A number of a text without separators, needless zeros, plus sign and exponent."""
    sign, digits, exponent = match.groups()
    if re.match(r"0\d", digits) or len(digits) > _LONGEST:
        return match[0]
    number = Decimal(digits.replace(",", "") + (exponent or ""))
    written = f"{number:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return f"-{written}" if sign == "-" and number else written


def _f1(answer: str, gold: str) -> float:
    """Token F1 of two texts."""
    if _same(answer, gold):
        return 1.0
    words, others = answer_words(answer), answer_words(gold)
    common = sum((Counter(words) & Counter(others)).values())
    return 2 * common / (len(words) + len(others)) if words and others else 0.0
