curl -X POST \
http://127.0.0.1:8000/openai/v1/images/edits \
-H "Authorization: Bearer $FLUXVISION_API_KEY" \
-F "model=flux-vision-upscaler" \
-F "image=@source.png" \
-F "prompt=Add a starry night sky to this image" \
-F "size=1024x1024"
# Response:
# { "created": 1234567890, "data": [{ "url": "https://...", "revised_prompt": "..." }] }
