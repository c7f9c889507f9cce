# Not built where it was written (no Docker there); the lines are those of the README.
#   docker build -t landmarks . && docker run --rm -p 7860:7860 landmarks
FROM python:3.11-slim

# libgomp and libglib are what torch and OpenCV load beyond the slim image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home landmarks
WORKDIR /home/landmarks/app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=landmarks demo.py ./
COPY --chown=landmarks models ./models
USER landmarks
EXPOSE 7860
HEALTHCHECK CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health')"
CMD ["python", "demo.py", "--host", "0.0.0.0"]
