# Not built where it was written (no Docker there): tests/test_dockerfile.py runs its steps as far
# as they go without. Needs a place for uploads and fetched models, and writes nowhere else:
#   docker build -t landmarks .
#   docker run --rm --read-only --tmpfs /tmp -p 7860:7860 landmarks
FROM python:3.11-slim

# A model file without an ONNX twin needs torch: --build-arg REQUIREMENTS=requirements.txt
ARG REQUIREMENTS=requirements-serve.txt
WORKDIR /app
COPY requirements-serve.txt requirements.txt ./
RUN pip install --no-cache-dir -r $REQUIREMENTS
COPY demo.py ./
COPY models ./models
# Here, since a read-only container compiles everything again at each start.
RUN python -m compileall -q demo.py models

# A number, for clusters that refuse root by number; HOME is where W&B and the cache may write.
ENV HOME=/tmp
USER 10001
EXPOSE 7860
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health')"]
CMD ["python", "demo.py", "--host", "0.0.0.0"]
