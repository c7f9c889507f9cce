"""What tests share: drawn and broken photos, tiny networks, commands in processes, a W&B server."""
