"""Everything that serving needs: reading photos, the model file, the networks. Never imports train."""
