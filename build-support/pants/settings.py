"""
Print, as shell ``export`` lines, the settings of pip that Pants needs too.

Pants itself reads no ``pip.conf`` and no ``PIP_*``, and the pip that it starts is told to read none (pants.toml).

``./pants`` runs this on every start, so it imports little and starts nothing::

    python -I -S settings.py pants

A variable that the user has set (``PANTS_...``) is left alone. ``uv-index`` and ``uv-find-links`` print the same
settings as options of ``uv``, one a line, for ``3rdparty/python/lock.sh``.
"""

import configparser
import os
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote

# Where PyTorch publishes its own CPU wheels; used when no folder that pip is configured with holds ours.
TORCH_CPU_WHEELS = "https://download.pytorch.org/whl/cpu/torch/"
TORCH_PIN = Path(__file__).parents[2] / "3rdparty/python/networks.in"


def config_files() -> "list[Path]":
    """Return pip's configuration files, the strongest last (machine, then user, then $PIP_CONFIG_FILE)."""
    home = Path.home()
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:  # pip's own way to say "read none"
        return []
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path(folder) / "pip/pip.conf" for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files += [Path("/etc/pip.conf"), Path("/Library/Application Support/pip/pip.conf")]
    files += [home / ".pip/pip.conf", config / "pip/pip.conf", home / "Library/Application Support/pip/pip.conf"]
    return [*files, Path(named)] if named else files


def pip_settings() -> "dict[str, str]":
    """Return what pip is configured with, as pip would see it: files, then environment."""
    found = {}
    for path in config_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            print(f"pants: {path} is ignored: {error}", file=sys.stderr)
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key, value in os.environ.items():
        if key.startswith("PIP_") and value:
            found[key[4:].lower().replace("_", "-")] = value
    return found


def as_url(place: str) -> str:
    """Return a folder as the file URL that Pants wants; a URL stays what it is."""
    return place if "://" in place else Path(place).expanduser().absolute().as_uri()


def folder_of(url: str) -> Path:
    """Return where a file URL leads."""
    return Path(unquote(url[len("file://") :]))


def is_there(url: str) -> bool:
    """Tell whether a file URL leads anywhere; Pants stops at one that does not, where pip only warns."""
    return not url.startswith("file://") or folder_of(url).exists()


def places(value: str) -> "list[str]":
    """Split pip's blank-separated list, without what does not exist and without repeats."""
    return list(dict.fromkeys(url for url in map(as_url, value.split()) if is_there(url)))


def holds_torch(url: str) -> bool:
    """Tell whether a find-links folder holds the CPU build of our torch."""
    pin = re.search(r"^torch==(\S+)", TORCH_PIN.read_text(), re.MULTILINE)
    wheels = f"torch-{pin.group(1)}+cpu-*.whl" if pin else ""
    return bool(wheels) and url.startswith("file://") and any(folder_of(url).glob(wheels))


def find_links(pip: "dict[str, str]") -> "list[str]":
    """Return where wheels lie outside the index."""
    urls = places(pip.get("find-links", ""))
    return urls if any(map(holds_torch, urls)) else [*urls, TORCH_CPU_WHEELS]


def pants_settings(pip: "dict[str, str]") -> "dict[str, str]":
    """Return Pants' environment variables for the same."""
    settings = {"PANTS_PYTHON_REPOS_FIND_LINKS": repr(find_links(pip))}
    # `+[...]` adds to Pants' own default, as pip's extra-index-url adds to pip's.
    extra = places(pip.get("extra-index-url", ""))
    if "index-url" in pip:
        settings["PANTS_PYTHON_REPOS_INDEXES"] = repr([as_url(pip["index-url"]), *extra])
    elif extra:
        settings["PANTS_PYTHON_REPOS_INDEXES"] = f"+{extra!r}"
    certificates = (pip.get("cert"), os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("SSL_CERT_FILE"))
    usable = [bundle for bundle in certificates if bundle and Path(bundle).is_file()]
    if usable:
        settings["PANTS_CA_CERTS_PATH"] = usable[0]
    return {name: value for name, value in settings.items() if name not in os.environ}


def main(form: str) -> None:
    """Print the settings in one of the forms."""
    pip = pip_settings()
    if form == "uv-index":
        lines = [f"--default-index={as_url(pip['index-url'])}"] if "index-url" in pip else []
    elif form == "uv-find-links":
        lines = [f"--find-links={url}" for url in find_links(pip)]
    else:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in pants_settings(pip).items()]
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1])
