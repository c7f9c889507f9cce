"""Everything that serving needs: photos, the model file, networks. Never imports train."""
