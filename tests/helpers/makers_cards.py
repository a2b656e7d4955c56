"""Ten character cards in the shapes that different programs write, odd fields included.

Made for these tests after the published specifications (V1, V2, V3) and what the programs are
known to add. No card here is anybody's.
"""

import base64
import json
import struct
import zlib
from typing import Any

from bot.documents.png import SIGNATURE, plain_png

PICTURE = plain_png(8, 12, (9, 99, 199))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: tuple[bytes, bytes], picture: bytes = PICTURE) -> bytes:
    """A picture with these right behind its header."""
    at = len(SIGNATURE) + 25
    return picture[:at] + b"".join(chunk(kind, data) for kind, data in chunks) + picture[at:]


def packed(card: object) -> bytes:
    return base64.b64encode(json.dumps(card).encode())


def text_chunk(name: str, card: object) -> tuple[bytes, bytes]:
    return b"tEXt", name.encode() + b"\0" + packed(card)


V1: dict[str, Any] = {
    "name": "Marla",
    "description": "{{char}} keeps the lighthouse.",
    "personality": "dry, patient",
    "scenario": "A storm comes.",
    "first_mes": "*wipes the lens* You are late, {{user}}.",
    "mes_example": "<START>\n{{user}}: Hi.\n{{char}}: Mind the stairs.",
    "metadata": {"version": 1, "tool": {"name": "an old editor", "url": ""}},
}

PYGMALION: dict[str, Any] = {
    "char_name": "Ilse",
    "char_persona": "A botanist.",
    "world_scenario": "A greenhouse at night.",
    "char_greeting": "Careful, that one bites.",
    "example_dialogue": "You: Hello.\nIlse: Hush.",
    "metadata": {"created": 1675000000000},
}

SILLYTAVERN: dict[str, Any] = {
    "name": "Sera",
    "description": "Sera guards the glade.",
    "personality": "kind",
    "scenario": "",
    "first_mes": "You wake under leaves.",
    "mes_example": "",
    "creatorcomment": "made for tests",
    "avatar": "none",
    "chat": "Sera - 2024-03-01@10h00m00s",
    "talkativeness": "0.5",
    "fav": False,
    "tags": ["fantasy"],
    "create_date": "2024-03-01 @10h 00m 00s 000ms",
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Sera",
        "description": "Sera guards the glade.",
        "personality": "kind",
        "scenario": "",
        "first_mes": "You wake under leaves.",
        "mes_example": "",
        "creator_notes": "made for tests\nsecond line",
        "system_prompt": "{{original}} Stay in the glade.",
        "post_history_instructions": "Write two paragraphs.",
        "alternate_greetings": ["Night has fallen.", "It rains."],
        "tags": ["fantasy"],
        "creator": "a tester",
        "character_version": "1.3",
        "extensions": {
            "talkativeness": "0.5",
            "fav": False,
            "world": "glade",
            "depth_prompt": {"prompt": "She hums.", "depth": 4, "role": "system"},
            "regex_scripts": [{"id": "9", "scriptName": "tidy", "findRegex": "/a/g"}],
        },
        "character_book": {
            "name": "glade",
            "entries": [
                {
                    "id": 0,
                    "keys": ["wolf", "wolves"],
                    "secondary_keys": ["night"],
                    "comment": "the pack",
                    "content": "Wolves avoid the glade.",
                    "constant": False,
                    "selective": True,
                    "insertion_order": 50,
                    "enabled": True,
                    "position": "after_char",
                    "use_regex": False,
                    "extensions": {
                        "position": 1, "exclude_recursion": False, "display_index": 0,
                        "probability": 100, "useProbability": True, "depth": 4,
                        "selectiveLogic": 0, "match_whole_words": False,
                    },
                }
            ],
        },
    },
}  # fmt: skip

CHUB: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Captain “Ada” Vance  ",
        "description": "A pilot of the outer line.",
        "personality": None,
        "scenario": None,
        "first_mes": "Strap in.",
        "mes_example": None,
        "creator_notes": "<p>html notes</p>",
        "system_prompt": "",
        "post_history_instructions": "",
        "alternate_greetings": [],
        "avatar": "https://pictures.example.org/avatars/ada/card.webp",
        "tags": ["sci-fi", "oc"],
        "creator": "someone",
        "character_version": "main",
        "extensions": {
            "chub": {"id": 12, "full_path": "x/ada", "related_lorebooks": [], "preset": None,
                     "background_image": None, "expressions": None, "alt_expressions": {}},
            "agnai": {"voice": {}, "persona": {"kind": "text", "attributes": {"text": [""]}}},
        },
        "character_book": None,
    },
}  # fmt: skip

V3_FULL: dict[str, Any] = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Nine of Bells",
        "nickname": "Nine",
        "description": "An automaton.",
        "personality": "literal",
        "scenario": "A watchmaker's shop, {{date}}.",
        "first_mes": "Tick.",
        "mes_example": "<START>\n{{char}}: Tock.",
        "creator_notes": "",
        "creator_notes_multilingual": {"de": "ein Automat", "ja": "自動人形"},
        "system_prompt": "",
        "post_history_instructions": "",
        "alternate_greetings": ["Tock."],
        "group_only_greetings": ["*ticks at everyone*"],
        "tags": [],
        "creator": "",
        "character_version": "",
        "source": ["https://cards.example.org/nine"],
        "creation_date": 1700000000,
        "modification_date": 1700000001,
        "assets": [
            {"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"},
            {"type": "icon", "uri": "https://cards.example.org/9.png", "name": "x", "ext": "png"},
            {"type": "background", "uri": "embeded://assets/b.png", "name": "b", "ext": "png"},
        ],
        "extensions": {"risuai": {"bias": [["word", 3]], "viewScreen": "none"}},
        "character_book": {
            "scan_depth": 6,
            "token_budget": 300,
            "recursive_scanning": True,
            "extensions": {},
            "entries": [
                {"keys": ["spring"], "content": "@@depth 3\n@@activate\nThe spring is gold.",
                 "extensions": {}, "enabled": True, "insertion_order": 1, "use_regex": False,
                 "constant": False, "name": "spring", "priority": 7, "id": "a1"},
                {"keys": ["/oil(ed)?/i"], "content": "It needs oil.", "extensions": {},
                 "enabled": True, "insertion_order": 2, "use_regex": True},
                {"keys": ["cog"], "content": "@@dont_activate\nSecret.", "extensions": {},
                 "enabled": True, "insertion_order": 3, "use_regex": False},
            ],
        },
    },
}  # fmt: skip

AGNAI: dict[str, Any] = {
    "kind": "character",
    "_id": "f00",
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Tam",
        "description": "",
        "personality": "species(fox)\nmind(curious)",
        "scenario": "A market.",
        "first_mes": "Buying or stealing?",
        "mes_example": ["{{char}}: Shoo.", "{{char}}: Fine."],
        "creator_notes": "",
        "system_prompt": "",
        "post_history_instructions": "",
        "alternate_greetings": None,
        "tags": None,
        "creator": None,
        "character_version": 2,
        "extensions": {"agnai": {"appearance": "red fur", "insert": {"depth": 3, "prompt": ""}}},
        "character_book": {
            "entries": [
                {"keys": "coin, purse", "content": "Coins are square.", "priority": 10,
                 "weight": 3, "enabled": True, "name": "coins", "insertion_order": 10}
            ]
        },
    },
}  # fmt: skip

WORLD_INFO: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Odo",
        "first_mes": "Well?",
        "character_book": {
            "entries": {
                "0": {"uid": 0, "keys": ["ring", "", 7], "content": "The ring is brass.",
                      "constant": True, "position": 0, "extensions": None},
                "1": {"uid": 1, "keys": None, "content": None, "enabled": None,
                      "insertion_order": "30", "extensions": {"position": 1}},
            }
        },
    },
}  # fmt: skip

JAPANESE: dict[str, Any] = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "\u96ea\u3000\ud83e\udd8a",
        "description": "half \ud83d a character",
        "first_mes": "こんにちは、{{user}}さん。",
        "character_book": {"entries": [{"keys": ["山"], "content": "山は高い。"}]},
        "extensions": {"lone \udc00": "\ud800"},
    },
}

OURS: dict[str, Any] = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Quill",
        "first_mes": "Speak.",
        "system_prompt": "You write.",
        "extensions": {
            "lantern": {
                "description": "a scribe", "model": "qwen/qwen3-8b", "alternatives": ["a/b"],
                "cloud": [], "local_only": True, "sampling": {"temperature": 0.4},
                "load": {"context_length": 8192}, "keep_loaded": False, "idle_ttl": "45m",
                "from_a_later_lantern": {"x": 1},
            },
            "other": [1, 2],
        },
    },
}  # fmt: skip

MAKERS: dict[str, bytes] = {
    "v1.json": json.dumps(V1).encode(),
    "pygmalion.json": b"\xef\xbb\xbf" + json.dumps(PYGMALION, indent=4).encode(),
    "sillytavern.png": with_chunks(
        (b"tEXt", b"Software\0paint"),
        text_chunk("chara", SILLYTAVERN),
    ),
    "chub.png": with_chunks(
        (b"zTXt", b"chara\0\0" + zlib.compress(packed(CHUB))),
    ),
    "v3.png": with_chunks(
        text_chunk("chara", {"data": {"name": "an older form"}}),
        (b"iTXt", b"ccv3\0\1\0en\0karte\0" + zlib.compress(packed(V3_FULL))),
    ),
    "agnai.json": json.dumps(AGNAI).encode(),
    "world.json": json.dumps(WORLD_INFO).encode(),
    "japanese.png": with_chunks((b"iTXt", b"CCV3\0\0\0\0\0" + packed(JAPANESE))),
    "ours.json": json.dumps(OURS).encode(),
    "utf8.json": json.dumps(CHUB, ensure_ascii=False).encode(),
}
# As JSON reads them: two halves of a character that stand side by side are one.
SOURCES: dict[str, dict[str, Any]] = {
    name: json.loads(json.dumps(card))
    for name, card in {
    "v1.json": V1, "pygmalion.json": PYGMALION, "sillytavern.png": SILLYTAVERN, "chub.png": CHUB,
    "v3.png": V3_FULL, "agnai.json": AGNAI, "world.json": WORLD_INFO, "japanese.png": JAPANESE,
    "ours.json": OURS, "utf8.json": CHUB,
    }.items()
}  # fmt: skip
