"""Types answers at a terminal: python3 person.py SECONDS DIALOGUE COMMAND...

DIALOGUE is a file of lines: words that the command shows, a tab, and what is typed then; in this order. What the command shows is
written out; the exit status is the command's, 124 when the words do not come in time.
"""

import os
import pty
import select
import sys
import time

limit = time.monotonic() + float(sys.argv[1])
with open(sys.argv[2]) as file:
    dialogue = [line.rstrip("\n").split("\t") for line in file]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "dumb"
    os.execvp(sys.argv[3], sys.argv[3:])
seen = ""
while True:
    if dialogue and dialogue[0][0] in seen:
        words, answer = dialogue.pop(0)
        seen = seen.split(words, 1)[1]
        # The question is whole, and the command reads, a moment after its first words.
        time.sleep(0.5)
        os.write(terminal, (answer + "\r").encode())
    if not select.select([terminal], [], [], max(0, limit - time.monotonic()))[0]:
        sys.stdout.write(f"\nperson: waited in vain for {dialogue[:1]}\n")
        sys.exit(124)
    try:
        read = os.read(terminal, 1 << 14).decode(errors="replace")
    except OSError:
        read = ""
    if not read:
        break
    sys.stdout.write(read)
    seen += read
if dialogue:
    sys.stdout.write(f"\nperson: never asked for {dialogue[0]}\n")
    sys.exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
