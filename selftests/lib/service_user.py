# SPDX-License-Identifier: Apache-2.0
"""The service user of adit-edge, who exists for single processes only. Needs root."""
import pathlib

UID = 64123
WRAP = ["unshare", "-m", "--propagation", "private", "bash", "-c",
        'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/group && shift 2 && exec "$@"', "sh"]


def with_service_user(folder):
    """A command that executes another one where there is a user adit-edge; folder: for its files."""
    made = []
    for name, line in (("passwd", f"adit-edge:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin\n"),
                       ("group", f"adit-edge:x:{UID}:\n")):
        path = folder / name
        path.write_text(pathlib.Path("/etc", name).read_text() + line)
        made.append(str(path))
    return [*WRAP, *made]
