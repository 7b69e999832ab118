"""What `mainstay run` prints: the address, the first key and sign-in, and three examples that work as pasted."""

from pathlib import Path

_CURL = """\
curl -N {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{{"model": "chat", "stream": true, "max_tokens": 200,
       "messages": [{{"role": "user", "content": "What is a mainstay?"}}]}}'"""

_OPENAI = """\
{python} - <<'END'
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="{key}")
for chunk in client.chat.completions.create(
    model="chat", stream=True, max_tokens=100, messages=[{{"role": "user", "content": "Name three colours."}}]
):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
END"""

_AZURE = """\
{python} - <<'END'
from openai import AzureOpenAI
client = AzureOpenAI(azure_endpoint="{url}", api_key="{key}", api_version="2024-10-21")
answer = client.chat.completions.create(
    model="chat", max_tokens=100, messages=[{{"role": "user", "content": "Say hello."}}]
)
print(answer.choices[0].message.content)
END"""

_UV = Path(".tools")


def welcome(url: str, key: str | None, *, sign_in_link: str | None = None, model_id: str, folder: Path) -> str:
    """The text. Without a key (it was shown before), the examples read it from the environment."""
    shown = key or "$MAINSTAY_API_KEY"
    quoted = [_CURL.format(url=url, key=shown)]
    quoted += [_python(example, url, key, folder) for example in (_OPENAI, _AZURE)]
    if key is not None:
        about = f"Your API key, shown only this once:  {key}"
    else:
        about = (
            "Your API key was shown at the first start. The examples read it from the environment:\n"
            f"  export MAINSTAY_API_KEY=sk-...      (a new one: {_program(folder)} keys create --name NAME)"
        )
    if sign_in_link is not None:
        about += f"\nSign in as the owner, once, with this link:\n  {sign_in_link}"
    titles = ("curl, streaming", "the official openai client, streaming", "the official AzureOpenAI client")
    examples = "\n\n".join(
        f"# {number}. {title}\n{text}" for number, (title, text) in enumerate(zip(titles, quoted, strict=False), 1)
    )
    chat = f"{_program(folder)} chat"
    return f"""
Mainstay on {url} - model {model_id}, deployed as "chat"

{about}

{examples}

Chat in another terminal: {chat}     Stop with Ctrl-C.
"""


def _python(example: str, url: str, key: str | None, folder: Path) -> str:
    text = example.format(python=_interpreter(folder), url=url, key=key or "")
    if key is None:
        text = text.replace('api_key=""', 'api_key=os.environ["MAINSTAY_API_KEY"]').replace(
            "from openai", "import os\nfrom openai", 1
        )
    return text


def _interpreter(folder: Path) -> str:
    """A Python that has the openai package: uv brings it, where a checkout has installed uv."""
    found = sorted((folder / _UV).glob("uv-*"))
    return f"{found[-1]} run --quiet --no-project --with openai python" if found else "python3"


def _program(folder: Path) -> Path | str:
    """How this shell can call `mainstay`."""
    installed = folder / ".venv/bin/mainstay"
    return installed if installed.exists() else "mainstay"
