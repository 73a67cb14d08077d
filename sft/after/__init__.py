"""What comes after SFT: a student goes on from its own answers (`sft.targets: [{target: think, then: …}]`).

`settings` says what may be configured, `tasks` which prompts are answered and in which batches, `stage` makes the job
of one such student, `train` does it with TRL's trainers (`trainers`), `rollouts` keeps the answers. The rewards are in
`distill.rewards`.
"""
