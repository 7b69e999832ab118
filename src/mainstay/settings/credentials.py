"""Fetches the keys of providers from where they are kept, and looks at who else may read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mainstay.kit.secret_text import Secret
from mainstay.settings.decoding import Decoder, Fault
from mainstay.settings.files import is_open_to_others, read_small_file
from mainstay.settings.problems import quote
from mainstay.settings.toml_lines import KeyPath
from mainstay.settings.tree import Provider, Tree
from mainstay.settings.validation import absolute

_KEY_BYTES = 16 * 1024
_CERTIFICATES_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Credentials:
    """Reads keys; what cannot be read is in `faults`, what should be looked at in `warnings`."""

    environ: Mapping[str, str]
    folder: Path
    """What relative paths are relative to."""
    must_be_set: bool = True
    """Whether this process needs the environment variables with keys; if not, a missing one is a warning."""
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def fill_in(self, tree: Tree, decoder: Decoder, *, is_file_open: bool) -> Tree:
        """Return the tree with the key of every provider in its `api_key` and all its paths absolute."""
        providers = []
        for path, provider in decoder.elements(("providers",), tree.providers):
            if is_file_open and (inline := _secret_in_file(provider)):
                message = f"The {inline} of provider {quote(provider.name)} stands in a file that others may read; "
                self.warnings.append(((*path, inline), f"{message}run chmod 600 on it, or use api_key_file."))
            providers.append(
                msgspec.structs.replace(
                    provider, api_key=self._key(provider, path), ca_file=self._certificates(provider, path)
                )
            )
        return msgspec.structs.replace(tree, providers=tuple(providers))

    def _key(self, provider: Provider, path: KeyPath) -> Secret | None:
        if provider.api_key is not None:
            return self._usable(provider.api_key.reveal(), provider, (*path, "api_key"))
        if provider.api_key_env is not None:
            return self._from_environment(provider.api_key_env, provider, (*path, "api_key_env"))
        if provider.api_key_file is not None:
            return self._from_file(provider.api_key_file, provider, (*path, "api_key_file"))
        return None

    def _from_environment(self, variable: str, provider: Provider, path: KeyPath) -> Secret | None:
        text = self.environ.get(variable, "").strip()
        if not text:
            self._miss(variable, provider, path)
            return None
        return self._usable(text, provider, path)

    def _miss(self, variable: str, provider: Provider, path: KeyPath) -> None:
        name = quote(provider.name)
        if self.must_be_set:
            message = f"The environment variable {variable} is not set; it must hold the key of provider {name}."
            self.faults.append((path, message))
        else:
            message = f"{variable} is not set in this shell; the server needs it when it starts, as the key of {name}."
            self.warnings.append((path, message))

    def _from_file(self, file: Path, provider: Provider, path: KeyPath) -> Secret | None:
        try:
            content, mode = read_small_file(absolute(file, self.folder), max_bytes=_KEY_BYTES)
        except OSError as error:
            reason = f"The key file {quote(str(file))} of provider {quote(provider.name)} cannot be read"
            self.faults.append((path, f"{reason}: {error.strerror}."))
            return None
        if is_open_to_others(mode):
            self.warnings.append((path, f"Others may read the key file {quote(str(file))}; run chmod 600 on it."))
        return self._usable(content.decode("ascii", "replace").strip(), provider, path)

    def _usable(self, text: str, provider: Provider, path: KeyPath) -> Secret | None:
        """Return the key unless it could not be sent in a header."""
        if text and text.isascii() and text.isprintable() and " " not in text:
            return Secret(text)
        what = "is empty" if not text else "holds a space, a line break or a character outside ASCII"
        self.faults.append((path, f"The key of provider {quote(provider.name)} {what}; put the key there and no more."))
        return None

    def _certificates(self, provider: Provider, path: KeyPath) -> Path | None:
        if provider.ca_file is None:
            return None
        try:
            file = absolute(provider.ca_file, self.folder)
            content, _ = read_small_file(file, max_bytes=_CERTIFICATES_BYTES)
        except OSError as error:
            reason = f"The ca_file of provider {quote(provider.name)} cannot be read"
            self.faults.append(((*path, "ca_file"), f"{reason}: {error.strerror}."))
            return None
        if b"-----BEGIN CERTIFICATE-----" not in content:
            self.faults.append(((*path, "ca_file"), f"{quote(str(file))} holds no certificate in PEM form."))
        return file


def _secret_in_file(provider: Provider) -> str:
    """Return the key whose value is a secret written into the file itself; empty if there is none."""
    if provider.api_key is not None:
        return "api_key"
    if provider.proxy is not None and "@" in provider.proxy.reveal():
        return "proxy"
    return "headers" if provider.headers else ""
