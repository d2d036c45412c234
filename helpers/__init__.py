"""What the tutorials share: the tabular MDP, a policy, rollouts and their loss. Not installed."""
