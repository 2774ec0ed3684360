"""Pretraining, SFT, reward model and DPO on `transformers.Trainer` and TRL.

`config` is cheap to import; everything else imports torch.
"""
