"""What the tutorials share: the tabular MDP, a policy, rollouts, memory. Not installed."""
