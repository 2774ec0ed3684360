"""On-policy learning: rollouts, advantages, KL, losses, and one trainer for PPO and RLOO."""
