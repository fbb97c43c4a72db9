"""From `git push` to images and manifests: Gitea, repos, CI, images."""
