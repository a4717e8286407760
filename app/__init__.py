"""The explorer: a Streamlit app over the store."""
