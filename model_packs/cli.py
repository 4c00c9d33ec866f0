"""Owns the `model-pack` command: arguments, what is printed, exit codes. What the commands do is in the modules beside.

`new` scaffolds, `build` packs, `inspect` shows, `verify` checks, `certify` turns scores into a threshold with a
statement. Reading commands take `--json`; its documents are described in model_packs/README.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from model_packs import calibrating, certification
from model_packs.bench import command as bench
from model_packs.build import build_pack
from model_packs.certificate.errors import CertificateError
from model_packs.certification import SPEC_FILE
from model_packs.errors import EngineError, ModelPackError, PackError, SigningError
from model_packs.manifest import PackManifest, PackRef
from model_packs.pack import Pack
from model_packs.pack_spec import PackSpec
from model_packs.process.durable import make_folder, write_file
from model_packs.process.exits import CliError, Exit, Parser, run
from model_packs.process.settings import sample_toml
from model_packs.report import command as report
from model_packs.signing import PublicKey, SiteKey
from model_packs.store import PackStore, StoredPack
from model_packs.verification import Check, check_certificate, check_golden

_SCAFFOLD_README = """# A pack in the making

1. Put the ONNX graph here and describe it in pack.toml.
2. `model-pack certify . --scores scores.npz …` writes certificate.json (optional).
3. `model-pack build . --out ../layout`, then `model-pack verify ../layout`.
"""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    run(lambda: execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit code.

    Raises:
        CliError: The command failed; carries the mend and the exit code.
        SystemExit: The arguments are wrong, or help was asked for.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except CertificateError as error:
        raise CliError(str(error), "correct the scores or the document that it names", Exit.DATA) from error
    except EngineError as error:
        raise CliError(error.reason, error.mend, Exit.UNAVAILABLE) from error
    except PackError as error:
        raise CliError(str(error), error.mend, Exit.DATA) from error
    except SigningError as error:
        raise CliError(error.reason, error.mend, Exit.DATA) from error
    except ModelPackError as error:
        raise CliError(str(error), "correct the file that it names", Exit.DATA) from error
    except BrokenPipeError:
        raise  # the reader of our output left; `run` knows
    except OSError as error:
        place = error.filename or "a file"
        raise CliError(
            f"{place}: {error.strerror}", "check the path, its permissions and the free space", Exit.UNAVAILABLE
        ) from error


def _parser() -> Parser:
    parser = Parser(prog="model-pack", description="Build, look at and check model packs.")
    parser.add_argument("--version", action="version", version=f"model-pack {metadata.version('tandem-edge')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    new = commands.add_parser("new", help="scaffold a folder with a commented pack.toml")
    new.add_argument("folder", type=Path, metavar="DIR")
    new.set_defaults(command=_new)

    build = commands.add_parser("build", help="build the pack that DIR/pack.toml declares into an OCI image layout")
    build.add_argument("folder", type=Path, metavar="DIR")
    build.add_argument("--out", type=Path, required=True, metavar="LAYOUT", help="the layout to write or add to")
    build.add_argument("--key", type=Path, metavar="SITE.KEY", help="sign with this private site key")
    build.set_defaults(command=_build)

    inspect = commands.add_parser("inspect", help="show what a layout holds")
    _add_layout(inspect)
    inspect.set_defaults(command=_inspect)

    verify = commands.add_parser("verify", help="check digests, signature, certificate and golden examples")
    _add_layout(verify)
    verify.add_argument("--key", type=Path, metavar="SITE.PUB", help="require a signature by this public key")
    verify.set_defaults(command=_verify)

    certification.add_to(commands)
    calibrating.add_to(commands)
    report.add_to(commands)
    bench.add_to(commands)
    return parser


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layout", type=Path, metavar="LAYOUT")
    parser.add_argument("--pack", type=_ref, metavar="NAME@VERSION", help="only this pack")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _ref(text: str) -> PackRef:
    try:
        return PackRef.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _new(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    spec = folder / SPEC_FILE
    if spec.exists():
        raise CliError(f"{spec} exists already", "choose another folder", Exit.USAGE)
    make_folder(folder)
    write_file(spec, sample_toml(PackSpec).encode())
    write_file(folder / "README.md", _SCAFFOLD_README.encode())
    print(f"{spec}: describe the model there, then model-pack build {folder} --out LAYOUT")
    return Exit.OK


def _build(options: argparse.Namespace) -> int:
    key = None if options.key is None else SiteKey.load(options.key)
    pack = build_pack(options.folder / SPEC_FILE, options.out, key)
    print(f"{pack.ref} {pack.digest} in {options.out}, {_signers(pack.signed_by)}")
    return Exit.OK


def _inspect(options: argparse.Namespace) -> int:
    packs = [(stored, PackStore(options.layout).load(stored.ref, None)) for stored in _chosen(options)]
    if options.json:
        _print_json({"schema": "tandem.inspect/1", "packs": [_document(stored, pack) for stored, pack in packs]})
        return Exit.OK
    for stored, pack in packs:
        _describe(stored, pack)
    return Exit.OK


def _verify(options: argparse.Namespace) -> int:
    trusted = None if options.key is None else (PublicKey.load(options.key),)
    store = PackStore(options.layout)
    results = []
    for stored in _chosen(options):
        pack = store.load(stored.ref, trusted)
        signature = "not checked: give --key" if trusted is None else f"holds, by key {trusted[0].key_id[:12]}"
        checks = (
            Check("digests", is_ok=True, detail=f"{len(pack.manifest.files)} files, {stored.size_bytes} bytes"),
            Check("signature", is_ok=None if trusted is None else True, detail=signature),
            check_certificate(pack),
            check_golden(pack),
        )
        results.append((pack, checks))
    is_ok = all(check.is_ok is not False for _, checks in results for check in checks)
    if options.json:
        packs = [{"ref": str(pack.ref), "digest": pack.digest, "checks": _rows(checks)} for pack, checks in results]
        _print_json({"schema": "tandem.verify/1", "ok": is_ok, "packs": packs})
    else:
        for pack, checks in results:
            print(f"{pack.ref} {pack.digest}")
            for check in checks:
                print(f"  {_VERDICTS[check.is_ok]:<8}{check.name}: {check.detail}")
    return Exit.OK if is_ok else Exit.DATA


_VERDICTS = {True: "ok", False: "FAILED", None: "-"}


def _chosen(options: argparse.Namespace) -> tuple[StoredPack, ...]:
    packs = PackStore(options.layout).list()
    chosen = packs if options.pack is None else tuple(stored for stored in packs if stored.ref == options.pack)
    if not chosen:
        known = ", ".join(str(stored.ref) for stored in packs) or "no packs"
        raise CliError(f"{options.layout} holds {known}", "choose one of these, or build a pack into it", Exit.DATA)
    return chosen


def _document(stored: StoredPack, pack: Pack) -> dict[str, Any]:
    certificate = pack.certificate
    return {
        "ref": str(stored.ref),
        "digest": stored.digest,
        "manifest_digest": stored.manifest_digest,
        "size_bytes": stored.size_bytes,
        "signed_by": list(stored.signed_by),
        "manifest": pack.manifest.to_document(),
        "certificate": None if certificate is None else json.loads(certificate.to_json()),
    }


def _answers(manifest: PackManifest) -> tuple[str, str]:
    """What kind of answer it gives."""
    boxes, spec = manifest.detection, manifest.regression
    if boxes is not None:
        found = f"boxes of {boxes.keep:g} or more, at most {boxes.max_boxes}, in {boxes.units}"
        return "task", f"{manifest.task} of {', '.join(manifest.labels)}: {found}"
    if manifest.labels:
        return "labels", ", ".join(manifest.labels)
    if spec is None:
        return "task", manifest.task
    return (
        "task",
        f"{manifest.task}: good within {spec.tolerance:g} {spec.unit}".rstrip() + f", {spec.level:.0%} intervals",
    )


def _describe(stored: StoredPack, pack: Pack) -> None:
    manifest = pack.manifest
    rows = [
        ("digest", stored.digest),
        ("signatures", _signers(stored.signed_by)),
        ("role", f"{manifest.role}, family {manifest.family}"),
        ("escalates to", str(manifest.escalates_to) if manifest.escalates_to else "nothing"),
        _answers(manifest),
        *(("input", f"{spec.name} {spec.datatype} {list(spec.shape)}") for spec in manifest.inputs),
        *(("output", f"{spec.name} {spec.datatype} {list(spec.shape)}") for spec in manifest.outputs),
        *(("variant", f"{item.id}: {item.engine}, {item.precision}, {item.file}") for item in manifest.variants),
        *(("file", f"{file.path}, {file.role}, {file.size_bytes} bytes") for file in manifest.files),
        ("license", manifest.license),
        *(("provenance", f"{key}: {value}") for key, value in sorted(manifest.provenance.items())),
        ("certificate", pack.certificate.statement() if pack.certificate else "none: the threshold is uncertified"),
    ]
    print(f"{stored.ref} ({stored.size_bytes} bytes)")
    for name, value in rows:
        print(f"  {name:<13} {value}")


def _rows(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [{"name": check.name, "ok": check.is_ok, "detail": check.detail} for check in checks]


def _signers(key_ids: Sequence[str]) -> str:
    return f"signed by {', '.join(key_id[:12] for key_id in key_ids)}" if key_ids else "unsigned"


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))
