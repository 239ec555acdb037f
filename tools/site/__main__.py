"""``python -m tools.site`` (or ``make docs``) builds the site into ``build/site/html`` and checks it."""

from __future__ import annotations

import sys

from tools.site.build import HTML, build

if __name__ == "__main__":
    problems = build()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"The site has {len(problems)} problems.")
    print(f"{HTML.relative_to(HTML.parents[2])}/index.html")
