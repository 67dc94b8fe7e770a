"""What a tracer may leave alone: macros that only compute a value, functions that write no object.

A macro's body is not seen by the parser, so a macro may be used only where its body surely writes
nothing, calls nothing that writes, and leaves no address behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# They write no object of the program: nothing but their result, streams and fresh memory.
_HARMLESS = """
    printf puts putchar putc fputc fputs fprintf fflush perror getchar getc fgetc malloc calloc
    realloc free exit abort assert abs labs llabs atoi atol atoll atof rand srand strlen strnlen
    strcmp strncmp strcasecmp strncasecmp strcoll strchr strrchr strstr strpbrk strspn strcspn
    memcmp memchr strdup strndup strerror getenv clock time difftime strtol strtoul strtoll
    strtoull strtod strtof isalnum isalpha isblank iscntrl isdigit isgraph islower isprint
    ispunct isspace isupper isxdigit tolower toupper sqrt cbrt pow exp exp2 expm1 log log2 log10
    log1p sin cos tan asin acos atan atan2 sinh cosh tanh floor ceil round trunc rint nearbyint
    lround llround lrint fabs fmod fmin fmax fdim fma hypot copysign isnan isinf isfinite
    signbit sqrtf powf expf logf sinf cosf tanf floorf ceilf roundf fabsf fmodf fminf fmaxf
    INT32_C UINT32_C INT64_C UINT64_C INTMAX_C UINTMAX_C __builtin_expect
    __builtin_abort __builtin_exit
"""
HARMLESS = frozenset(_HARMLESS.split())
# Through a pointer to one of these a program could write unseen.
_WRITING = """
    scanf fscanf sscanf vscanf vfscanf vsscanf gets fgets fread getline getdelim read recv
    memcpy memmove memset memccpy mempcpy bcopy bzero swab qsort qsort_r strcpy strncpy strcat
    strncat stpcpy stpncpy strlcpy strlcat strtok strtok_r strsep strxfrm sprintf snprintf
    vsprintf vsnprintf strftime asctime_r ctime_r localtime_r gmtime_r mktime frexp frexpf
    remquo strfry memfrob getcwd realpath readlink random_r rand_r
"""
WRITING = frozenset(_WRITING.split())

_QUIET = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|\\\n', re.S)
_WRITES = re.compile(r"\+\+|--|(?<![=!<>])=(?!=)|<<=|>>=|[;{}#]|(?:^|[^\w)\]\s&])\s*&(?!&)")
_CALLS = re.compile(r"([A-Za-z_]\w*)\s*\(")
_FLOW = re.compile(
    r"\b(?:return|goto|break|continue|if|else|for|while|do|switch|case|default|asm|__asm__"
    r"|typedef|static|extern|_Pragma|va_arg|setjmp)\b"
)
_NUMBER = re.compile(r"[\s(+~-]*(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*[\s)]*")


@dataclass(slots=True)
class Macro:
    """A macro as defined: ``parameters`` is None for one without parentheses."""

    parameters: list[str] | None
    body: str

    @property
    def number(self) -> bool:
        """Whether it stands for an integer constant."""
        return self.parameters is None and bool(_NUMBER.fullmatch(self.body))


def why_not(macro: Macro, macros: dict[str, Macro]) -> str | None:
    """Why a macro may not be used in a traced program; None where it only computes a value."""
    body = _QUIET.sub(" 0 ", macro.body)
    if not body.strip():
        return "stands for nothing"
    if _WRITES.search(body) or _FLOW.search(body):
        return "does more than compute a value"
    depth = 0
    for sign in body:
        depth += (sign in "([") - (sign in ")]")
        if depth < 0:
            break
    if depth:
        return "is not a whole expression"
    for called in _CALLS.findall(body):
        if called not in HARMLESS and called not in macros and called != "sizeof":
            return f"calls {called}"
        if called in ("printf", "fprintf", "exit", "abort") or called in (macro.parameters or ()):
            return f"calls {called}"
    return None
