"""Simple formulas of LaTeX, which Discord does not know, as text that people read.

What Unicode can say is said: Greek letters, signs, powers, indices, fractions and roots. Any other
formula is quoted as the model wrote it.
"""

import re

from bot.policy.markup import has_fences, lines_of

_LONGEST = 400
_LONGEST_INLINE = 80
"""Characters between single dollars: beyond it they are money."""

_OPENER = re.compile(r"`+|\\\\|\\[(\[]|\$\$?|\\\Z")
_CLOSERS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
_LOOKS_SO = re.compile(r"[\\^_=+<>0-9]")

_SIGNS: dict[str, str] = dict(
    re.findall(
        r"(\w+)=(\S+)",
        "alpha=α beta=β gamma=γ delta=δ epsilon=ε varepsilon=ε zeta=ζ eta=η theta=θ iota=ι kappa=κ "
        "lambda=λ mu=μ nu=ν xi=ξ pi=π rho=ρ sigma=σ tau=τ upsilon=υ phi=φ varphi=φ chi=χ psi=ψ "
        "omega=ω Gamma=Γ Delta=Δ Theta=Θ Lambda=Λ Xi=Ξ Pi=Π Sigma=Σ Phi=Φ Psi=Ψ Omega=Ω times=× "
        "cdot=· div=÷ pm=± mp=∓ le=≤ leq=≤ ge=≥ geq=≥ ne=≠ neq=≠ approx=≈ equiv=≡ sim=∼ propto=∝ "
        "infty=∞ to=→ rightarrow=→ leftarrow=← Rightarrow=⇒ implies=⇒ iff=⇔ in=∈ notin=∉ subset=⊂ "
        "subseteq=⊆ cup=∪ cap=∩ emptyset=∅ forall=∀ exists=∃ neg=¬ land=∧ lor=∨ partial=∂ nabla=∇ "
        "sum=∑ prod=∏ int=∫ circ=° degree=° ldots=… dots=… cdots=⋯ sin=sin cos=cos tan=tan log=log "
        "ln=ln exp=exp min=min max=max lim=lim gcd=gcd mod=mod",
    )
)
_BLANKS = re.compile(r"\\(?:left|right)(?![a-zA-Z])|\\[,;:! ]|\\q?quad(?![a-zA-Z])|~|\s+")
_NAME = re.compile(r"\\([a-zA-Z]+)")
_STEP = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|mathit|operatorname)\{(?P<words>[^{}]*)\}"
    r"|\\[dt]?frac\{(?P<over>[^{}]*)\}\{(?P<under>[^{}]*)\}|\\sqrt\{(?P<root>[^{}]*)\}"
    r"|\^(?:\{(?P<powers>[^{}]*)\}|(?P<power>[^\s{}\\]))"
    r"|_(?:\{(?P<indices>[^{}]*)\}|(?P<index>[^\s{}\\]))"
)
_RAISED = dict(zip(
    "0123456789+-=()abcdefghijklmnoprstuvwxyzT°",
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ°", strict=True,
))  # fmt: skip
_LOWERED = dict(zip(
    "0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True,
))  # fmt: skip


def plain_formulas(text: str, *, is_whole: bool = True) -> str:
    """The text with its formulas readable; code, in fences or in quotes, stays as it is.

    Of a text that grows (``is_whole`` is False) a formula is left out until it has ended, for at
    most 400 characters: the result is a beginning of every later one.
    """
    if "\\" not in text and "$" not in text:
        return text
    shown, prose_at = list[str](), 0
    # Fences part a text into prose and code; a formula reaches over neither.
    lines = lines_of(text) if has_fences(text) else ()
    edges = [(line.start, line.end) for line in lines if line.before or line.after]
    for start, end in (*edges, (len(text), len(text))):
        if prose_at < start:
            is_last = start == len(text) and not is_whole
            prose, is_held = _told(text[prose_at:start], is_open=is_last)
            shown.append(prose)
            if is_held:
                break
        shown.append(text[start:end])
        prose_at = end
    return "".join(shown)


def _told(prose: str, *, is_open: bool) -> tuple[str, bool]:
    """Prose with its formulas told, and whether its end is held back until more is known."""
    shown, done, at = list[str](), 0, 0
    while found := _OPENER.search(prose, at):
        opener, start, at = found[0], found.start(), found.end()
        if opener[0] == "`":
            # Up to the line's end where it is not closed: what comes could still close it.
            line_end = prose.find("\n", at) % (len(prose) + 1)
            close = prose.find(opener, at, line_end)
            at = line_end if close < 0 else close + len(opener)
            continue
        is_dollar, closer = opener == "$", _CLOSERS.get(opener)
        after = prose[at : at + 1]
        if is_open and not after:
            return "".join((*shown, prose[done:start])), True
        if closer is None or (is_dollar and (after.isspace() or after.isdigit())):
            continue
        limit = at + (_LONGEST_INLINE if is_dollar else _LONGEST) + len(closer)
        gap = prose.find("\n" if is_dollar else "\n\n", at, limit)
        end = prose.find(closer, at, limit if gap < 0 else gap)
        behind = end + len(closer)
        if is_open and gap < 0 and (len(prose) < limit if end < 0 else behind == len(prose)):
            return "".join((*shown, prose[done:start])), True
        if end < 0:
            continue
        around = prose[max(start - 1, 0) : start] + prose[behind : behind + 1]
        told = _quoted(prose[at:end], is_dollar=is_dollar)
        if told and not re.search(r"[\w@<#&!/$\\(\[`]", around.removeprefix("(")):
            shown += (prose[done:start], told)
            done = at = behind
    return "".join((*shown, prose[done:])), False


def _quoted(formula: str, *, is_dollar: bool) -> str:
    """One formula told, or quoted where Unicode cannot tell it; empty where it is none."""
    formula = " ".join(formula.split())
    is_short = len(formula) == 1 and formula.isalpha()
    if not (is_short or _LOOKS_SO.search(formula)) or "`" in formula:
        return ""
    if is_dollar and not is_short and not re.search(r"[\\^_]", formula):
        return ""
    told = _NAME.sub(lambda name: _SIGNS.get(name[1], name[0]), _BLANKS.sub(" ", formula))
    for _ in range(8):
        before, told = told, _STEP.sub(_step, told)
        if told == before:
            break
    told = " ".join(told.replace("-", "−").replace("*", "∗").replace("||", "‖").split())
    if re.search(r"[\\{}^_$&#@~]|\A>|<\Z|\A\Z", told):
        return "" if is_dollar else f"`{formula}`"
    return told


def _step(found: re.Match[str]) -> str:
    """The innermost piece of a formula told; itself where Unicode has no letters for it."""
    piece = {name: part for name, part in found.groupdict().items() if part is not None}
    for names, letters in ((("powers", "power"), _RAISED), (("indices", "index"), _LOWERED)):
        for name in names:
            if name in piece:
                raised = [letters.get(sign, "") for sign in piece[name] if sign != " "]
                return "".join(raised) if raised and all(raised) else found[0]
    if "words" in piece:
        return piece["words"]
    parts = [part if len(part) < 2 or part.isalnum() else f"({part})" for part in piece.values()]
    return f"√{parts[0]}" if "root" in piece else "/".join(parts)
