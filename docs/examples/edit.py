from openai import OpenAI
client = OpenAI(
api_key="YOUR_API_KEY",
base_url="http://127.0.0.1:8000/openai/v1"
)
response = client.images.edit(
model="flux-vision-upscaler",
image=open("source.png", "rb"),
prompt="Add a starry night sky to this image",
size="1024x1024"
)
# { created: 1234567890, data: [{ url: "https://...", revised_prompt: "..." }] }
print(response.data[0].url)
