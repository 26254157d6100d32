"""From an axolotl release to a running job on CSCS Alps: a folder a stage, in pipeline order.

release → image → squashfs → edf → inventory → runtime → training → smoke → slurm. Each stage folder's
docstring says what goes in and what comes out; nothing but what it exports is used elsewhere.
"""
